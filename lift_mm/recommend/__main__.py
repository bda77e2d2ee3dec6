"""``python -m lift_mm.recommend --data FOLDER``."""

import argparse
import os
import sys
from pathlib import Path

from lift_mm.clip.names import printable

from . import recommend


def main(argv: list[str] | None = None) -> int:
    """Print a config, or write it.

    Returns:
        0, or 1 where the data are refused.
    """
    parser = argparse.ArgumentParser(
        prog='python -m lift_mm.recommend',
        description='Look at images and propose a config, with reasons.',
    )
    parser.add_argument(
        '--data',
        required=True,
        help='a folder with one sub-folder of images for each class, with '
        'or without train/, val/ and test/ above them; or a list with '
        '"path label" lines and class_names.txt beside it',
    )
    parser.add_argument(
        '--memory',
        type=float,
        metavar='GIB',
        help='memory of the GPU; by default that of this machine',
    )
    parser.add_argument('--out', help='the config file to write')
    args = parser.parse_args(argv)
    try:
        recommendation = recommend(args.data, args.memory)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    text = recommendation.config()
    if args.out is None:
        print(text, end='')
        return 0
    out = Path(args.out)
    part = out.with_name(f'{out.name}.{os.getpid()}.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, out)
    for hint in recommendation.hints:
        print(f'* {printable(hint)}')
    print(f'Written: {out}. Train with: python tools/train.py {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
