"""Run tools/train.py until its first step is done, and time what it does.

Called by startup.py in a fresh process: CLOCK CONFIG WORK_DIR OUT. CLOCK is
"CPU" for the CPU time of this process, or else the time of the call, and OUT a
JSON file for the seconds of each phase.
"""

import functools
import importlib.util
import inspect
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

TRAIN = Path(__file__).parents[1] / 'train.py'
PHASES = (
    'imports',
    'imports for the model',
    'config',
    'log and environment',
    'read and load weights',
    'fingerprint',
    'build the model',
    'datasets',
    'optimizer',
    'head from text',
    'head from images',
    'train() until the loop',
    'first batch',
    'first step',
    'process',
)


class Phases:
    """Seconds spent in functions, without those spent in one another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def watch(self, owner: object, name: str, phase: str) -> None:
        """Put a function in the place of ``owner.name`` that is timed."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args, **kwargs):
            begin = self.clock()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = self.clock() - begin
                self.spent[phase] += whole - self._inner.pop()
                self._inner[-1] += whole

        kind = inspect.getattr_static(owner, name)
        bound = isinstance(kind, (staticmethod, classmethod))
        setattr(owner, name, staticmethod(timed) if bound else timed)


class Started(Exception):
    """The first step is done."""


def start(clock: str, config: str, work_dir: str) -> dict[str, float]:
    """Train one step in this process, and give the seconds of each phase.

    Args:
        clock: See above.
        config: The config file.
        work_dir: Where the log goes.
    """
    begin = 0.0 if clock == 'CPU' else float(clock)
    now = time.process_time if clock == 'CPU' else time.time
    phases = Phases(now)
    spec = importlib.util.spec_from_file_location('train', TRAIN)
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    phases.spent['imports'] = now() - begin
    again = now()
    import mmpretrain.models

    from lift_mm import datasets  # noqa: F401
    from lift_mm.clip import weights
    from lift_mm.engine import ResumableEpochLoop
    from lift_mm.models import clip_vit
    from lift_mm.models.inits import image_init, semantic
    from lift_mm.tuners.freeze import FrozenBase

    phases.spent['imports for the model'] = now() - again

    def first_step(loop, *args, **kwargs) -> None:
        step(loop, *args, **kwargs)
        raise Started

    step = ResumableEpochLoop.run_iter
    ResumableEpochLoop.run_iter = first_step
    freeze = sys.modules[FrozenBase.__module__]
    vit, runner = mmpretrain.models.VisionTransformer, train.Runner
    for owner, name, phase in (
        (train.Config, 'fromfile', 'config'),
        (train, 'merge_args', 'config'),
        (train, 'fit_machine', 'config'),
        (runner, 'from_cfg', 'log and environment'),
        (runner, 'build_model', 'build the model'),
        (vit, '__init__', 'read and load weights'),
        (weights, 'read', 'read and load weights'),
        (clip_vit, '_load', 'read and load weights'),
        (freeze, 'fingerprint', 'fingerprint'),
        (runner, 'build_dataloader', 'datasets'),
        (runner, 'build_optim_wrapper', 'optimizer'),
        (semantic, 'class_embeddings', 'head from text'),
        (image_init.ImageInit, '__call__', 'head from images'),
        (runner, 'train', 'train() until the loop'),
        (ResumableEpochLoop, 'run_epoch', 'first batch'),
        (ResumableEpochLoop, 'run_iter', 'first step'),
    ):
        phases.watch(owner, name, phase)
    sys.argv = ['train.py', config, '--work-dir', work_dir]
    try:
        train.main()
    except Started:
        whole = now() - begin
    phases.spent['process'] = whole - sum(phases.spent.values())
    return {**phases.spent, 'in all': whole}


def main() -> None:
    *settings, out = sys.argv[1:]
    Path(out).write_text(json.dumps(start(*settings)))


if __name__ == '__main__':
    main()
