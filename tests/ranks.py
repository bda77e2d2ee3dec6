"""Start several processes that train together, on the CPU by gloo.

One fresh process imports everything once and forks the ranks, which is as
fast as one start and leaves pytest's own process out of it.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest import mock

import matplotlib.pyplot  # noqa: F401, what a runner would import later
import torch
import torch.multiprocessing
from mmengine.config import Config

SINGLE = {f'{name}_NUM_THREADS': '1' for name in ('OMP', 'MKL', 'OPENBLAS')}


def run_ranks(
    function: Callable, ranks: int, *args, timeout: int = 240
) -> list:
    """Call a function of a test file in several processes at once.

    Args:
        function: At the top level of its file.
        ranks: Number of processes.
        *args: What JSON can hold.
        timeout: Seconds until all are given up.

    Returns:
        list: What it returned, by rank; tensors, numbers, text, and lists
        and dicts of such.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            function.__code__.co_filename,
            function.__qualname__,
            str(ranks),
            folder,
            json.dumps(args),
        ]
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), **SINGLE)
        done = subprocess.run(
            command,
            env=env,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return [
            torch.load(Path(folder, f'{rank}.pt'), weights_only=True)
            for rank in range(ranks)
        ]


def _load(file: str, name: str) -> Callable:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def _work(rank: int, function: Callable, ranks: int, folder: str, args: list):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks)
    )
    # By a file: no port that another test might have taken.
    torch.distributed.init_process_group(
        'gloo',
        f'file://{folder}/meeting',
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=60),
    )
    # Formatting a config takes longer than training a tiny model.
    with mock.patch.object(Config, 'pretty_text', ''):
        torch.save(function(*args), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def main() -> None:
    file, name, ranks, folder, args = sys.argv[1:]
    function = _load(file, name)
    if len(os.listdir('/proc/self/task')) > 1:
        raise RuntimeError('A process with threads must not be forked.')
    torch.multiprocessing.start_processes(
        _work,
        (function, int(ranks), folder, json.loads(args)),
        int(ranks),
        start_method='fork',
    )


if __name__ == '__main__':
    main()
