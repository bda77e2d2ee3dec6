"""The judge of the soak catches a leak, and lets a steady program pass."""

import mmap
import sys

import pytest
import torch
from soak import BOUNDS, sample, trends

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason='memory and open files come from /proc'
)
MEMORY, FILES, TENSORS = BOUNDS


def grown(work):
    """Judge a program by its samples, as if one in a thousand steps."""
    steps, samples = range(0, 6000, 1000), []
    for _ in steps:
        work()
        samples.append(sample())
    found = trends(steps, samples, warm_up=1000)
    return {trend.name for trend in found if trend.grows}


def test_a_steady_program_passes():
    def work():
        torch.rand(100_000).sum()
        open(__file__).close()

    assert grown(work) == set()


def pages(size):
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    block = mmap.mmap(-1, size, flags=private)
    block.write(b'x' * size)
    return block


def test_leaks_are_caught():
    kept = []
    # Of its own pages: a large heap has room for a list's worth of leaks.
    assert MEMORY in grown(lambda: kept.append(pages(2**23)))
    assert grown(lambda: kept.append(torch.zeros(1))) == {TENSORS}
    assert grown(lambda: kept.append(open(__file__))) == {FILES}
    for thing in kept[-6:]:
        thing.close()


def test_a_child_counts():
    import multiprocessing

    before = sample()
    context = multiprocessing.get_context('fork')
    stop = context.Event()
    child = context.Process(target=stop.wait)
    child.start()
    try:
        after = sample()
    finally:
        stop.set()
        child.join()
    assert after[MEMORY] > before[MEMORY] + 1
    assert after[FILES] > before[FILES] + 1


@pytest.mark.parametrize('name', BOUNDS)
@pytest.mark.parametrize('slope, leaks', [(0, False), (0.5, False), (2, True)])
def test_the_line_is_judged_after_the_warm_up(name, slope, leaks):
    steps = range(0, 2000, 20)
    samples = []
    for place, step in enumerate(steps):
        ramp = min(step, 500)  # far above any bound, but only at first
        noise = (-1) ** place * BOUNDS[name]
        growth = slope * BOUNDS[name] * step / 1000
        samples.append(dict.fromkeys(BOUNDS, 100 + ramp + noise + growth))
    found = {trend.name: trend for trend in trends(steps, samples, 500)}
    assert found[name].grows is leaks
    expected = pytest.approx(slope * BOUNDS[name], abs=0.02 * BOUNDS[name])
    assert found[name].slope == expected
