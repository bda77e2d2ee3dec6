"""Run the main job on the embedded data and show what came out.

Zero-shot CLIP, linear probe, LIFT and LIFT with test-time ensembling, each
through ``tools/train.py`` and ``tools/test.py`` with the configs in
``configs/demo``. The table is also written to ``work_dirs/demo/report.json``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lift_mm.reproduce.record import learned_sizes

ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/fashion-mnist-lt')
MEASURES = ('acc', 'acc_mean', 'acc_many', 'acc_medium', 'acc_few')

# Name of a row, its config, whether it trains, further flags of the test.
ROWS = [
    ('zero-shot', 'zero-shot', False, []),
    ('linear probe', 'linear-probe', True, []),
    ('LIFT', 'lift', True, []),
    ('LIFT + TTE', 'lift', False, ['--tta']),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--work-dir',
        default='work_dirs/demo',
        help='folder of logs, checkpoints and the report',
    )
    return parser.parse_args()


def unpack() -> None:
    """Unpack the embedded images, unless they are there."""
    done = ROOT / DATA / 'LICENSE.txt'
    if done.exists():
        return
    part = ROOT / f'{DATA}.part'
    shutil.rmtree(part, ignore_errors=True)
    with zipfile.ZipFile(ROOT / 'demo' / 'fashion-mnist-lt.zip') as archive:
        archive.extractall(part)
    shutil.rmtree(ROOT / DATA, ignore_errors=True)
    part.rename(ROOT / DATA)


def run(*command) -> None:
    """Show a command as a user would type it, and run it."""
    words = [str(word) for word in command]
    print('\n$ python', ' '.join(words), flush=True)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def measure(work: Path) -> list:
    """Run all rows, and give them with their measures."""
    rows = []
    for name, config, trains, flags in ROWS:
        begin = time.time()
        path = f'configs/demo/{config}_fashion-mnist-lt.py'
        folder = work / config
        checkpoint = folder / 'epoch_5.pth'
        if trains:
            run('tools/train.py', path, '--work-dir', folder)
        out = folder / ('tta.json' if flags else 'metrics.json')
        known = [checkpoint] if (ROOT / checkpoint).exists() else []
        run(
            'tools/test.py',
            path,
            *known,
            '--work-dir',
            folder,
            *flags,
            '--out',
            out,
            '--out-item',
            'metrics',
        )
        found = json.loads((ROOT / out).read_text())
        sizes = dict(learned_params=0, head_params=0)
        if known:
            sizes = learned_sizes(ROOT / checkpoint)
        size = (ROOT / checkpoint).stat().st_size if known else 0
        rows.append(
            dict(
                name=name,
                **sizes,
                **{key: found.get(f'lt/{key}') for key in MEASURES},
                checkpoint_bytes=size,
                seconds=round(time.time() - begin, 1),
            )
        )
    return rows


def show(rows: list) -> None:
    """Print the table."""
    table = Table(title='Fashion-MNIST-LT with the embedded mini-clip')
    table.add_column('', justify='left')
    heads = ('overall', 'many', 'medium', 'few')
    for head in (*heads, 'learned (+ head)', 'seconds'):
        table.add_column(head, justify='right')
    for row in rows:
        keys = ('acc', 'acc_many', 'acc_medium', 'acc_few')
        learned = f'{row["learned_params"]:,} (+ {row["head_params"]:,})'
        values = ['-' if row[k] is None else f'{row[k]:.1f}' for k in keys]
        seconds = f'{row["seconds"]:.0f}'
        table.add_row(row['name'], *values, learned, seconds)
    Console(width=90).print(table)


def main() -> None:
    args = parse_args()
    work = Path(args.work_dir)
    begin = time.time()
    unpack()
    # Rows of an earlier run must not pass for those of this one.
    shutil.rmtree(ROOT / work, ignore_errors=True)
    (ROOT / work).mkdir(parents=True)
    rows = measure(work)
    report = work / 'report.json'
    (ROOT / report).write_text(json.dumps(rows, indent=2) + '\n')
    print()
    show(rows)
    print(f'Checkpoints and logs: {work}/lift, {work}/linear-probe, ...')
    print(f'This table as JSON:   {report}')
    print(f'The images:           {DATA}')
    print(f'In all {time.time() - begin:.0f} seconds.')


if __name__ == '__main__':
    main()
