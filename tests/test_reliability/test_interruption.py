"""Processes that are killed, stopped or starved, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import reliable_runs
import torch
from mmengine.config import Config

from lift_mm.safe_load import load_file

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Let all runs die and be resumed; give their folder and statuses."""
    root = tmp_path_factory.mktemp('runs')
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        [sys.executable, TESTS / 'reliable_worker.py', root],
        env={**os.environ, 'PYTHONPATH': paths, 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    statuses = json.loads((root / 'statuses.json').read_text())
    return root, statuses, done.stderr


def ends_like(root, case, whole, ranks=1):
    for rank in range(ranks):
        resumed, expected = (
            torch.load(root / run / f'rank{rank}.pt', weights_only=True)
            for run in (case, whole)
        )
        assert torch.equal(resumed, expected)
    return True


@pytest.mark.parametrize(
    'case, status, left',
    [
        ('kill', -9, ['epoch_1.pth']),
        # Before the rename of the second file, and in naming it.
        ('replace3', -9, ['.epoch_2.pth.part', 'epoch_1.pth']),
        ('fsync7', -9, ['.last_checkpoint.part', 'epoch_2.pth']),
        ('disk', 1, ['epoch_1.pth']),
        ('worker', 1, ['epoch_1.pth']),
        ('group', 143, ['epoch_1.pth', 'stopped.pth']),
    ],
)
def test_one_process(runs, case, status, left):
    root, statuses, _ = runs
    assert statuses['none'] == 0
    assert statuses[case] == status
    assert statuses[f'{case} left'] == left
    assert statuses[f'{case} resumed'] == 0
    assert ends_like(root, case, 'none')
    assert os.listdir(root / case / 'run').count('stopped.pth') == 0
    assert not list((root / case / 'run').glob('.*.part'))


def test_full_disk_is_named(runs):
    text = [line for line in runs[2].splitlines() if 'OSError' in line][-1]
    assert 'epoch_2.pth" could not be written (File too large)' in text


def test_ranks_stop_at_the_same_iteration(runs):
    root, statuses, _ = runs
    assert statuses['ranks none'] == [0, 0]
    assert statuses['ranks stop'] == [143, 143]
    left = statuses['ranks stop left']
    assert left == ['epoch_1.pth', 'stopped.pth']
    assert statuses['ranks stop resumed'] == [0, 0]
    assert ends_like(root, 'ranks stop', 'ranks none', 2)


def test_dying_rank(runs):
    """The other one fails, too, instead of waiting."""
    root, statuses, _ = runs
    first, second = statuses['ranks kill']
    assert second == -9 and first not in (0, 143)
    assert statuses['ranks kill left'] == ['epoch_1.pth']
    assert statuses['ranks kill resumed'] == [0, 0]
    assert ends_like(root, 'ranks kill', 'ranks none', 2)


def test_nan_in_one_rank(runs):
    """The loss of the first is a number, its weights are none by then."""
    root, statuses, errors = runs
    assert statuses['ranks nan'] == [1, 1]
    assert statuses['ranks nan left'] == ['epoch_1.pth']
    assert 'iteration 6, epoch 2, rank 1 (loss=nan)' in errors
    assert statuses['ranks nan resumed'] == [0, 0]
    assert ends_like(root, 'ranks nan', 'ranks none', 2)


def test_what_is_left_is_whole(runs):
    for path in runs[0].glob('*/run/*.pth'):
        assert load_file(path)['meta']['iter'] > 0


def test_train_tool(tmp_path):
    """A signal from outside, in an epoch of a run that would never end."""
    data = reliable_runs.data(tmp_path)
    cfg = Config(reliable_runs.config(data, tmp_path / 'run'))
    cfg.default_hooks.logger.interval = 1
    cfg.train_cfg.max_epochs = 10**6
    cfg.update(log_level='INFO', custom_imports=dict(imports=['lift_mm']))
    cfg.dump(tmp_path / 'config.py')
    process = subprocess.Popen(
        [
            sys.executable,
            TESTS.parent / 'tools/train.py',
            'config.py',
            '--no-persistent-workers',
        ],
        env={**os.environ, 'PYTHONPATH': str(TESTS.parent)},
        cwd=tmp_path,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stdout.readline, '')
    assert any('Epoch(train)' in line for line in lines)
    process.send_signal(signal.SIGTERM)
    *_, last = filter(str.strip, lines)
    assert process.wait(timeout=60) == 143
    assert 'SIGTERM: stopped after iteration' in last
    assert load_file(tmp_path / 'run' / 'stopped.pth')['optimizer']
