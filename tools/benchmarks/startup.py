"""Time imports, and what lies between the command line and the first step.

Imports: "import lift_mm" and "import mmpretrain" in fresh processes, in turn,
and what the first takes in a process after the second ("lift_mm alone").

Phases: tools/train.py trains LIFT on a CLIP of random weights and on random
pictures, in fresh processes, until its first step is done. "new" runs start
with an empty cache, "cached" ones find there what the head starts from: text
features (SemanticInit) or features of the training images (ClassMeanInit).
Each phase is what was spent in it and in none of the others; "process" is
what no phase names.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from first_step import PHASES
from measure import alternate, table

FIRST_STEP = Path(__file__).with_name('first_step.py')
CONFIG = """
_base_ = 'lift_mm::lift/vit-b16_folder.py'
model = dict(
    backbone=dict(
        backbone=dict(arch={arch!r}, pretrained={weights!r}, img_size=224)
    ),
    head=dict(
        num_classes={classes},
        in_channels={width},
        init=dict(_delete_=True, type={init!r}),
    ),
)
train_dataloader = dict(
    batch_size={batch_size}, num_workers=2, dataset=dict(data_root={data!r})
)
val_dataloader = dict(num_workers=2, dataset=dict(data_root={data!r}))
"""


def in_fresh_process(config: Path, cache: Path, cpu: bool) -> dict[str, float]:
    """Train until the first step in a process of its own."""
    out = config.with_suffix('.json')
    with tempfile.TemporaryDirectory() as work_dir:
        clock = 'CPU' if cpu else str(time.time())
        command = [sys.executable, str(FIRST_STEP), clock]
        done = subprocess.run(
            [*command, str(config), work_dir, str(out)],
            env={**os.environ, 'LIFT_MM_CACHE': str(cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(done.stdout)
    return json.loads(out.read_text())


def import_seconds(module: str) -> tuple[float, float]:
    """Give the time and the CPU time of a process that imports a module."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, '-c', f'import {module}'], check=True)
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def added_seconds() -> tuple[float, float]:
    """Give what importing lift_mm takes where mmpretrain is imported."""
    code = (
        'import time, mmpretrain\n'
        'wall, cpu = time.perf_counter(), time.process_time()\n'
        'import lift_mm\n'
        'print(time.perf_counter() - wall, time.process_time() - cpu)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True
    )
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


def compare_imports(rounds: int) -> str:
    """Time imports in turn, and lay out the medians."""
    theirs, ours, added = (
        'import mmpretrain',
        'import lift_mm',
        'lift_mm alone',
    )
    found = alternate(
        {
            theirs: lambda: import_seconds('mmpretrain'),
            ours: lambda: import_seconds('lift_mm'),
            added: added_seconds,
        },
        rounds,
    )
    columns = {}
    for place, kind in enumerate(('wall', 'CPU')):
        each = {name: [x[place] for x in found[name]] for name in found}
        columns[kind] = {
            name: statistics.median(times) for name, times in each.items()
        }
        columns[kind]['difference'] = statistics.median(
            a - b for a, b in zip(each[ours], each[theirs])
        )
    return table(columns, {ours: 2, theirs: 2, 'difference': 2, added: 3})


def write_inputs(folder: Path, args: argparse.Namespace) -> dict:
    """Write weights and pictures, and give the fields of the config."""
    import numpy as np
    import open_clip
    from PIL import Image
    from safetensors.torch import save_file

    from lift_mm.clip.arch import model_config, vision_config

    config = model_config(args.arch)
    weights = folder / 'clip.safetensors'
    state = open_clip.CLIP(**config).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, weights)
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in range(args.classes):
            room = folder / 'data' / split / f'thing {label:04d}'
            room.mkdir(parents=True)
            for number in range(args.images):
                pixels = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(room / f'{number}.jpg')
    return dict(
        arch=args.arch,
        weights=str(weights),
        classes=args.classes,
        width=vision_config(config)['width'],
        batch_size=args.batch_size,
        data=str(folder / 'data'),
    )


def compare_phases(args: argparse.Namespace) -> str:
    """Time the phases with new and cached features, and lay them out."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        fields = write_inputs(folder, args)
        runs = {}
        for name, init in (
            ('text', 'SemanticInit'),
            ('data', 'ClassMeanInit'),
        ):
            config = folder / f'{name}.py'
            config.write_text(CONFIG.format(**fields, init=init))

            def new(config=config):
                with tempfile.TemporaryDirectory() as cache:
                    return in_fresh_process(config, Path(cache), args.cpu)

            runs[f'{name}, new'] = new
            runs[f'{name}, cached'] = functools.partial(
                in_fresh_process, config, folder / 'cache', args.cpu
            )
        found = alternate(runs, args.rounds)  # the first round fills caches
    columns = {
        name: {
            phase: statistics.median(one.get(phase, 0.0) for one in every)
            for phase in (*PHASES, 'in all')
        }
        for name, every in found.items()
    }
    return table(columns, dict.fromkeys((*PHASES, 'in all'), 2))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arch', default='ViT-B-16', help='open_clip model, or a JSON file'
    )
    parser.add_argument('--classes', type=int, default=50)
    parser.add_argument('--images', type=int, default=2, help='of a class')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=3, help='of the phases')
    parser.add_argument(
        '--cpu', action='store_true', help='CPU time of the phases'
    )
    parser.add_argument(
        '--imports', type=int, default=9, help='rounds of the imports'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.imports:
        print('seconds (the bar of the difference is 0.30)')
        print(compare_imports(args.imports))
    if args.rounds:
        print(
            f'{args.arch}, batch {args.batch_size}: seconds to the first step'
        )
        print(compare_phases(args))


if __name__ == '__main__':
    main()
