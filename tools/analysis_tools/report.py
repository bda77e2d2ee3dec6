"""Write the report of a run: one HTML file that opens from disk.

Tests the last checkpoint of a work directory and shows accuracy against class
frequency, groups beside zero-shot and other runs, curves, the worst classes
with pictures, calibration, what was learned, and how.
"""

import argparse
from pathlib import Path

import lift_mm  # noqa: F401, before any config is read
from lift_mm.analysis.run_report import write_run_report


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('run', help='a work directory, or a checkpoint in it')
    parser.add_argument('--name', help='title; the name of the folder')
    parser.add_argument(
        '--against',
        nargs=2,
        action='append',
        default=[],
        metavar=('NAME', 'RUN'),
        help='another run to compare the groups with; several are possible',
    )
    parser.add_argument(
        '--no-zero-shot',
        action='store_true',
        help='do not test zero-shot CLIP for comparison',
    )
    parser.add_argument(
        '--out', help='the HTML file; report.html in the work directory'
    )
    return parser.parse_args(args)


def main(args=None) -> None:
    args = parse_args(args)
    zero_shot = not args.no_zero_shot
    path = write_run_report(
        args.run, args.out, args.name, args.against, zero_shot
    )
    size = Path(path).stat().st_size / 2**20
    print(f'Written: {path} ({size:.1f} MB) and .json beside it')


if __name__ == '__main__':
    main()
