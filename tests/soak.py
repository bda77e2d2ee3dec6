"""Train for 2,000 steps and see whether anything grows (``make soak``).

A real runner with persistent workers validates and saves on the way, and is
resumed half-way. After a warm-up, a line is laid through each of three
quantities; one that climbs faster than its bound is a leak. Needs Linux.
"""

import gc
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.hooks import Hook

# What may be added in 1,000 steps, beyond what is noise.
BOUNDS = {'memory, MiB': 2.0, 'open files': 0.5, 'tensors': 0.5}
STEPS_PER_EPOCH = 50
EPOCHS = 40
WARM_UP = 300  # steps of a leg that do not count: allocators fill up


class Trend(NamedTuple):
    """How a quantity went on.

    Args:
        name (str): One of ``BOUNDS``.
        first (float): At the end of the warm-up.
        last (float): At the end.
        slope (float): Of the line through all, for 1,000 steps.
    """

    name: str
    first: float
    last: float
    slope: float

    @property
    def grows(self) -> bool:
        """Whether that is more than the bound."""
        return self.slope > BOUNDS[self.name]


def sample() -> dict[str, float]:
    """Measure this process and its workers, by the names in ``BOUNDS``."""
    gc.collect()
    workers = [child.pid for child in multiprocessing.active_children()]
    folders = [Path('/proc', str(pid)) for pid in ('self', *workers)]
    return {
        'memory, MiB': sum(map(_resident, folders)) / 2**20,
        'open files': sum(len([*(f / 'fd').iterdir()]) for f in folders),
        # `isinstance` would wake lazy modules, which answer by `__class__`.
        'tensors': sum(
            issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()
        ),
    }


def _resident(process: Path) -> int:
    """Count bytes that were written, also where the system put them away.

    Pages of files, as of libraries, come and go with its need of memory.
    """
    fields = dict(
        line.split(':') for line in (process / 'status').open() if ':' in line
    )
    kinds = ('RssAnon', 'RssShmem', 'VmSwap')
    return sum(1024 * int(fields[kind].split()[0]) for kind in kinds)


def trends(
    steps: Sequence[int], samples: Sequence[dict], warm_up: int = 0
) -> list[Trend]:
    """Lay a line through each quantity.

    Args:
        steps: When the samples were taken.
        samples: From :func:`sample`.
        warm_up: Steps after the first sample that do not count.
    """
    counted = [n for n, s in enumerate(steps) if s - steps[0] >= warm_up]
    found = []
    for name in BOUNDS:
        values = [samples[n][name] for n in counted]
        slope, _ = np.polyfit([steps[n] for n in counted], values, 1)
        found.append(Trend(name, values[0], values[-1], 1000 * float(slope)))
    return found


class Watch(Hook):
    """Take a sample every so many steps."""

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.steps: list[int] = []
        self.samples: list[dict] = []

    def after_train_iter(self, runner, *_, **__) -> None:
        """See the class."""
        if self.every_n_train_iters(runner, self.interval):
            self.steps.append(runner.iter + 1)
            self.samples.append(sample())


def config(folder: Path, epochs: int) -> dict:
    """Give a run of tiny parts that does what long runs do."""
    from test_tuners.tiny_models import (
        dataset,
        loader,
        model_config,
        run_config,
    )

    workers = dict(num_workers=2, persistent_workers=True)
    root = folder / 'images'
    hooks = dict(
        logger=dict(type='LoggerHook', interval=10),
        checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    )
    return run_config(
        folder / 'run',
        model_config(),
        root,
        train_dataloader=loader(dataset(root)) | workers,
        val_dataloader=loader(dataset(root, train=False)) | workers,
        val_evaluator=dict(type='lift_mm.LongTailMetric'),
        val_cfg=dict(),
        train_cfg=dict(
            type='lift_mm.ResumableEpochLoop',
            max_epochs=epochs,
            val_interval=2,
        ),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=EPOCHS),
        default_hooks=hooks,
        resume=epochs == EPOCHS,
    )


def main() -> int:
    """Run both legs and print a table; 1 if anything grows."""
    from test_tuners.tiny_models import image_folder, runner

    grown = False
    print(f'{"steps":>12} {"":12} {"first":>9} {"last":>9} {"/1000":>9} bound')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image_folder(folder / 'images', counts=(60, 30, 10))
        for epochs in (EPOCHS // 2, EPOCHS):
            watch = Watch(interval=20)
            runner(config(folder, epochs), watch).train()
            legs = f'{watch.steps[0]}..{watch.steps[-1]}'
            for trend in trends(watch.steps, watch.samples, WARM_UP):
                grown |= trend.grows
                print(
                    f'{legs:>12} {trend.name:12} {trend.first:9.1f} '
                    f'{trend.last:9.1f} {trend.slope:9.3f} '
                    f'{BOUNDS[trend.name]}{" GROWS" if trend.grows else ""}'
                )
    return int(grown)


if __name__ == '__main__':
    sys.exit(main())
