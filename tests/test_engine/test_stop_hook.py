"""A run that is asked to stop saves, and goes on as if nothing had been."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest
import reliable_runs
import torch
from reliable_runs import At, config, resume, train

from lift_mm.engine import StopHook, stop_hook
from lift_mm.safe_load import load_file


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return reliable_runs.data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    return {
        counts: train(config(data, folder / str(counts), counts))
        for counts in (1, 3)
    }


@pytest.fixture(autouse=True)
def handlers():
    """Nothing may be left of a run."""
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    child = signal.getsignal(signal.SIGCHLD)
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    signal.signal(signal.SIGCHLD, child)


def ask(number):
    return lambda runner: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    'number, status, iteration, moment',
    [
        (signal.SIGTERM, 143, 1, 'before'),
        (signal.SIGUSR1, 138, 5, 'after'),
        (signal.SIGTERM, 143, 7, 'after'),
        (signal.SIGUSR1, 138, 10, 'before'),
    ],
)
def test_stopped_and_resumed(
    data, tmp_path, uninterrupted, number, status, iteration, moment
):
    cfg = config(data, tmp_path)
    with pytest.raises(SystemExit) as caught:
        train(cfg, At(iteration, ask(number), moment))
    assert caught.value.code == status
    path = tmp_path / 'stopped.pth'
    assert (tmp_path / 'last_checkpoint').read_text() == str(path)
    assert load_file(path)['meta']['iter'] == iteration
    assert torch.equal(resume(cfg), uninterrupted[1])
    # The next regular checkpoint takes its place.
    assert not path.exists()
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_2.pth')


@pytest.mark.parametrize('asked, stopped', [(1, 3), (4, 5), (8, 8), (9, 10)])
def test_waits_for_the_end_of_a_group(
    data, tmp_path, uninterrupted, asked, stopped
):
    """Groups of three end after 3, 5 (the epoch), 8, 10 iterations."""
    cfg = config(data, tmp_path, 3)
    with pytest.raises(SystemExit):
        train(cfg, At(asked, ask(signal.SIGTERM)))
    meta = load_file(tmp_path / 'stopped.pth')['meta']
    assert meta['iter'] == stopped
    assert torch.equal(resume(cfg), uninterrupted[3])


def test_stopped_twice(data, tmp_path, uninterrupted):
    cfg = config(data, tmp_path)
    with pytest.raises(SystemExit):
        train(cfg, At(2, ask(signal.SIGUSR1)))
    with pytest.raises(SystemExit):
        resume(cfg, At(4, ask(signal.SIGUSR1)))
    assert torch.equal(resume(cfg), uninterrupted[1])


def test_moving_average(data, tmp_path):
    """What is saved are the average's weights, as at any other time."""
    cfg = config(data, tmp_path / 'whole')
    cfg['custom_hooks'].append(dict(type='EMAHook', momentum=0.3))
    expected = train(cfg)
    cfg['work_dir'] = str(tmp_path / 'cut')
    with pytest.raises(SystemExit):
        train(cfg, At(4, ask(signal.SIGTERM)))
    assert torch.equal(resume(cfg), expected)


class Loop:
    """Gets signals in its course, or afterwards."""

    def run(self, hook, *numbers):
        for number in numbers:
            hook._note(number, sys._getframe())


@pytest.fixture
def hook():
    hook = StopHook()
    hook.before_train(SimpleNamespace(train_loop=Loop()))
    yield hook
    hook._restore()


@pytest.fixture
def kills(monkeypatch):
    kills = []
    monkeypatch.setattr(os, 'kill', lambda *args: kills.append(args))
    return kills


@pytest.mark.parametrize('later, killed', [(0.1, False), (3.0, True)])
def test_second_signal(monkeypatch, hook, kills, later, killed):
    """The same one may come twice: from slurm and through a launcher."""
    clock = iter([10.0, 10.0 + later])
    monkeypatch.setattr(stop_hook.time, 'monotonic', lambda: next(clock))
    Loop().run(hook, signal.SIGTERM)
    assert kills == []
    Loop().run(hook, signal.SIGTERM)
    assert kills == [(os.getpid(), signal.SIGTERM)] * killed


def test_copies_of_the_process_leave_signals_to_it(monkeypatch, hook):
    monkeypatch.setattr(os, 'getpid', lambda: -1)
    Loop().run(hook, signal.SIGUSR1)
    assert not hook._signal


def test_signals_are_given_back_after_an_exception(data, tmp_path):
    def fail(runner):
        raise KeyError

    got = []
    before = signal.signal(signal.SIGUSR1, lambda *args: got.append(args))
    try:
        with pytest.raises(KeyError):
            train(config(data, tmp_path), At(2, fail))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(got) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
