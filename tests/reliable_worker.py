"""Runs in processes of their own that die in the course of things.

Each is forked from this one, which has imported everything, and is resumed in
another. ``python reliable_worker.py FOLDER`` writes the exit statuses of all
cases to ``FOLDER/statuses.json``, and what the resumed runs have learned to
``FOLDER/<case>/rank<N>.pt``.
"""

import json
import os
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path

import reliable_runs
import torch
from mmengine.config import Config
from reliable_runs import At, learned
from test_tuners.tiny_models import runner
from torch.utils.data import get_worker_info

from lift_mm import compat
from lift_mm.registry import TRANSFORMS

ITERATION = 7  # in the second of two epochs


@TRANSFORMS.register_module()
class DyingWorker:
    """Ends its process, once the other iterations have gone by."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def __call__(self, results: dict) -> dict:
        if get_worker_info() is not None and self.marker.exists():
            self.marker.unlink()
            os._exit(1)
        return results


def kill(number):
    return lambda run: os.kill(os.getpid(), number)


def kill_group(run) -> None:
    """As slurm does: the trainer and its data loader's workers."""
    os.killpg(0, signal.SIGTERM)


def spoil(run) -> None:
    with torch.no_grad():
        run.model.module.head.fc.weight.fill_(torch.nan)


def full_disk(run) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))


def die_at(name: str, call: int) -> None:
    """Be killed right before one of the writer's calls to the system."""
    original, calls = getattr(os, name), []

    def fatal(*args):
        calls.append(args)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    setattr(os, name, fatal)


def run(data, folder, resume=False, hooks=(), workers=0, rank=None, **more):
    cfg = reliable_runs.config(data, folder / 'run', **more)
    loader = cfg['train_dataloader']
    loader.update(num_workers=workers, persistent_workers=workers > 0)
    marker = folder / 'marker'
    loader['dataset']['pipeline'].insert(
        0, dict(type='lift_mm.DyingWorker', marker=str(marker))
    )
    cfg['resume'] = resume
    if rank is not None:
        cfg = Config(dict(cfg, launcher='pytorch'))
        compat.cpu_distributed(cfg)
    trainer = runner(cfg, *hooks)
    trainer.train()
    torch.save(learned(trainer), folder / f'rank{rank or 0}.pt')


def forked(function, *args, **kwargs) -> int:
    """Start a process; give its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgrp()
    status = 1
    try:
        function(*args, **kwargs)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def mark(folder: Path):
    return lambda run: (folder / 'marker').touch()


def alone(data: Path, root: Path) -> dict:
    """Give the exit statuses of the runs of one process."""
    faults = {
        'none': {},
        'kill': dict(hooks=[At(ITERATION, kill(signal.SIGKILL))]),
        'disk': dict(hooks=[At(ITERATION, full_disk)]),
        'group': dict(hooks=[At(ITERATION, kill_group)], workers=2),
        'worker': dict(workers=1),
    }
    # The second epoch's file and the name of it take a few calls each.
    calls = [('replace', 3), ('fsync', 7)]
    faults.update({f'{name}{call}': {} for name, call in calls})
    statuses = {}
    for case, options in faults.items():
        folder = root / case
        folder.mkdir()
        if case == 'worker':
            options['hooks'] = [At(ITERATION - 2, mark(folder))]

        def first(case=case, options=options, folder=folder):
            for name, call in calls:
                if case == f'{name}{call}':
                    die_at(name, call)
            run(data, folder, max_keep_ckpts=1, **options)

        statuses[case] = status_of(forked(first))
        left = sorted(p.name for p in (folder / 'run').glob('*.p*t*'))
        statuses[f'{case} left'] = left
        if case != 'none':
            again = forked(run, data, folder, True, max_keep_ckpts=1)
            statuses[f'{case} resumed'] = status_of(again)
    return statuses


def together(data: Path, root: Path) -> dict:
    """Give the exit statuses of the runs of two processes."""
    faults = {
        'ranks none': {},
        # Two times three iterations.
        'ranks stop': dict(hooks=[At(4, kill(signal.SIGTERM))]),
        'ranks nan': dict(hooks=[At(6, spoil)]),
        'ranks kill': dict(hooks=[At(5, kill(signal.SIGKILL))]),
    }
    statuses = {}
    for case, options in faults.items():
        folder = root / case
        folder.mkdir()
        statuses[case] = pair(data, folder, options)
        left = sorted(p.name for p in (folder / 'run').glob('*.pth'))
        statuses[f'{case} left'] = left
        if options:
            statuses[f'{case} resumed'] = pair(data, folder, {}, True)
    return statuses


def pair(data, folder, options, resume=False) -> list[int]:
    """Let the second of two processes meet the fault."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]

    def start(rank):
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE='2',
            LOCAL_WORLD_SIZE='2',
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        run(data, folder, resume, rank=rank, **(options if rank else {}))

    return [status_of(p) for p in [forked(start, r) for r in (0, 1)]]


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    compat.install()
    data = reliable_runs.data(root)
    statuses = alone(data, root) | together(data, root)
    (root / 'statuses.json').write_text(json.dumps(statuses))


if __name__ == '__main__':
    main()
