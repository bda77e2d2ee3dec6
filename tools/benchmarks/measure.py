"""What the benchmarks share: taking turns, ratios, bytes and clocks."""

import gc
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

MIB = 2**20


class Clock:
    """Intervals between marks, in seconds.

    On a GPU the marks are events in its queue, so that no mark makes it wait
    for the next kernel.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == 'cuda'
        self.marks: list = []
        if self.cuda:
            torch.cuda.synchronize()
        self.mark()

    def mark(self) -> None:
        """End an interval, and begin the next."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def intervals(self) -> list[float]:
        """Wait for the last mark, and give what lies between them all."""
        pairs = zip(self.marks, self.marks[1:])
        if self.cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1e3 for a, b in pairs]
        return [b - a for a, b in pairs]


def alternate(
    fns: dict[str, Callable], rounds: int, warm_up: int = 1
) -> dict[str, list]:
    """Call functions in turn, so that a noisy machine disturbs all alike.

    Each round begins with another function: A B C, B C A, C A B, ...

    Args:
        fns: The functions, by name.
        rounds: Rounds that count.
        warm_up: Rounds before those, whose results are dropped.

    Returns:
        What each function gave, one entry a round.
    """
    names = list(fns)
    found: dict[str, list] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            result = fns[name]()
            if number >= 0:
                found[name].append(result)
    return found


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the median of the ratios of the rounds.

    Both of a pair were measured in the same round, next to each other, so
    slow drifts of the machine cancel. The ratio of two medians would not
    do that.
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def saved_bytes(fn: Callable[[], Tensor], *nets: nn.Module) -> int:
    """Count what a graph keeps for its backward pass.

    Storages count once, however many views of them are kept, and in full.

    Args:
        fn: Computes the loss. The graph lives on in it, which is what keeps
            storages apart: a dead one's address would be given out again.
        *nets: Their parameters and buffers are there anyway and count
            nothing.
    """
    own = {
        tensor.untyped_storage().data_ptr()
        for net in nets
        for tensor in (*net.parameters(), *net.buffers())
    }
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = fn()
    del loss
    return sum(found.values())


def cuda_peak(fn: Callable) -> int:
    """Give the bytes of a GPU that a call needs while it runs.

    What was allocated before does not count.
    """
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    fn()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def resident_peak(build: Callable[..., Callable], *args) -> int | None:
    """Give the bytes of main memory that a call needs while it runs.

    A fresh process builds the function and calls it twice, first to warm up.
    The growth of its resident set in the second call counts. Large blocks
    are handed back to the system as they are freed (glibc), so that memory
    of the first call does not hide any of the second's.

    Args:
        build: Gives the function; it and the arguments must be picklable.
        *args: For ``build``.

    Returns:
        None where the system does not tell (other than Linux).
    """
    if sys.platform != 'linux':
        return None
    context = multiprocessing.get_context('spawn')
    blocks = {'MALLOC_MMAP_THRESHOLD_': '65536'}
    with (
        mock.patch.dict(os.environ, blocks),
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        return pool.submit(_resident_peak, build, *args).result()


def _resident_peak(build: Callable[..., Callable], *args) -> int:
    fn = build(*args)
    fn()
    gc.collect()
    before = _status('VmRSS:')
    Path('/proc/self/clear_refs').write_text('5')  # forget the old peak
    fn()
    return _status('VmHWM:') - before


def _status(key: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(key)).split()[1])


def matmul_rate(
    device: torch.device, dtype: torch.dtype, size: int, repeats: int = 5
) -> float:
    """Give FLOP a second of large square matrix products, at their best."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.mm(a, b)
    clock = Clock(device)
    for _ in range(repeats):
        torch.mm(a, b, out=out)
        clock.mark()
    return 2 * size**3 / min(clock.intervals())


def table(columns: dict[str, dict[str, float | None]], digits: dict) -> str:
    """Lay out numbers, a column for each thing measured.

    Args:
        columns: Numbers by name of the column and of the row; a number that
            is missing, None or not finite is a dash.
        digits: Digits behind the point, by name of the row, in their order.
    """
    first = max(map(len, digits)) + 2
    widths = {name: max(len(name), 7) + 2 for name in columns}
    head = ''.join(f'{name:>{widths[name]}}' for name in columns)
    lines = [' ' * first + head]
    for row, places in digits.items():
        line = f'{row:<{first}}'
        for name, values in columns.items():
            value = values.get(row)
            known = value is not None and math.isfinite(value)
            text = f'{value:.{places}f}' if known else '-'
            line += f'{text:>{widths[name]}}'
        lines.append(line)
    return '\n'.join(lines)
