"""Train a config with several modes of ``lift_mm.LoadCrop``, and compare.

What a faster mode costs in accuracy, on your own images and config: every
mode trains from the same seeds, and so with the same crops in the same order.
Tests read the images as always. The table tells the mean accuracy of the last
epoch over the seeds, and the mean and standard error of the difference to the
first mode, seed by seed.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEP = 'train_dataloader.dataset.pipeline.0'
KEYS = ('lt/acc', 'lt/acc_many', 'lt/acc_medium', 'lt/acc_few')


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument(
        '--modes',
        nargs='+',
        default=['mode=exact', 'mode=fast'],
        metavar='KEY=VALUE[,KEY=VALUE]',
        help='keys of LoadCrop, as mode=fast,min_detail=1',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--work-dir', default='work_dirs/load_modes')
    parser.add_argument('--cfg-options', nargs='+', default=[])
    return parser.parse_args(args)


def last_scores(folder: Path) -> dict:
    """Read the last measures that a run wrote."""
    log = max(folder.glob('*/vis_data/scalars.json'))
    lines = map(json.loads, log.read_text().splitlines())
    return [line for line in lines if KEYS[0] in line][-1]


def train(config: str, mode: str, seed: int, folder: Path, options) -> dict:
    """Train once, and give the measures of the last epoch."""
    keys = [f'{STEP}.{pair}' for pair in mode.split(',')]
    words = ['tools/train.py', config, '--work-dir', str(folder)]
    words += ['--cfg-options', f'randomness.seed={seed}', *keys, *options]
    print('$ python', *words, flush=True)
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return last_scores(folder)


def table(scores: dict[str, list[dict]]) -> str:
    """Give a line for each mode.

    Args:
        scores: Measures of each seed, by mode.
    """
    first = next(iter(scores.values()))
    heads = ''.join(f'{key.removeprefix("lt/"):>12}' for key in KEYS)
    lines = [f'{"":32}{heads}{"difference":>20}']
    for mode, found in scores.items():
        line = f'{mode:32}'
        for key in KEYS:
            # A data set may have no class with few images.
            known = [one[key] for one in found if key in one]
            value = f'{statistics.mean(known):.2f}' if known else '-'
            line += f'{value:>12}'
        apart = [
            one[KEYS[0]] - other[KEYS[0]]
            for one, other in zip(found, first, strict=True)
        ]
        text = f'{statistics.mean(apart):+.2f}'
        if len(apart) > 1:
            error = statistics.stdev(apart) / math.sqrt(len(apart))
            text += f' +- {error:.2f}'
        lines.append(f'{line}{text:>20}')
    return '\n'.join(lines)


def main(args=None) -> None:
    args = parse_args(args)
    work = Path(args.work_dir).resolve()
    scores = {mode: [] for mode in args.modes}
    for seed in args.seeds:
        for number, mode in enumerate(args.modes):
            folder = work / f'{number}_seed{seed}'
            scores[mode].append(
                train(args.config, mode, seed, folder, args.cfg_options)
            )
    print(table(scores))


if __name__ == '__main__':
    main()
