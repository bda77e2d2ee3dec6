"""The launch scripts: a killed process, several machines, a cluster."""

import datetime
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.multiprocessing
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.registry import RUNNERS
from test_tools.test_train_test import free_port
from test_tuners import tiny_models as tiny

from lift_mm.engine import ShardedRunner
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
SHARDED = 'runner_type=lift_mm.ShardedRunner'
FATAL = """
import os
import signal

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class FatalHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if 'FATAL' in os.environ and runner.iter == 4 and get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def settings(folder, work_dir, batch):
    data = tiny.loader(
        tiny.dataset(folder / 'photos', train=False), persistent_workers=False
    )
    config = tiny.run_config(
        work_dir,
        tiny.model_config(str(folder / 'clip0.pt')),
        folder / 'photos',
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_dataloader=data,
        test_cfg=dict(),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
        log_level='INFO',
    )
    config['train_dataloader'].update(
        batch_size=batch, persistent_workers=False
    )
    config['custom_hooks'].append(dict(type='lift_mm.RecordHook'))
    config['default_hooks']['checkpoint'] = dict(
        type='CheckpointHook', interval=1
    )
    return config


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scripts')
    tiny.image_folder(folder / 'photos', (6, 4, 2))
    tiny.clip_file(folder)
    (folder / 'fatal.py').write_text(FATAL)
    config = settings(folder, folder / 'work', batch=2)
    config['custom_imports'] = dict(imports=['fatal'])
    config['custom_hooks'].append(dict(type='FatalHook'))
    Config(config).dump(folder / 'tiny.py')
    return folder


def environment(place, **env) -> dict:
    found = dict(os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable, **env)
    found['PYTHONPATH'] = os.pathsep.join([str(place), str(ROOT)])
    return found


def start(place, script, *args, **env) -> subprocess.Popen:
    return subprocess.Popen(
        ['bash', TOOLS / script, place / 'tiny.py', *map(str, args)],
        env=environment(place, **env),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process) -> tuple[int, str]:
    try:
        log, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, log


@pytest.fixture(scope='module')
def killed(place):
    """Two processes, one of which is killed in the second epoch."""
    return ended(start(place, 'dist_train.sh', 2, PORT=free_port(), FATAL='1'))


@pytest.fixture(scope='module')
def continued(place, killed):
    """The rest of that run, sharded over two machines of one process."""
    shared = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=free_port())
    machines = [
        start(
            place,
            'dist_train.sh',
            1,
            '--resume',
            '--cfg-options',
            SHARDED,
            NODE_RANK=str(rank),
            **shared,
        )
        for rank in (0, 1)
    ]
    return [ended(machine) for machine in machines]


def test_a_killed_process_ends_the_run(place, killed):
    code, log = killed
    assert code != 0
    assert 'Signal 9' in log or 'SIGKILL' in log
    assert (place / 'work' / 'last_checkpoint').read_text().endswith('_1.pth')


@pytest.fixture(scope='module')
def alone(place):
    """One process at twice the batch size."""
    runner = tiny.runner(settings(place, place / 'alone', batch=4))
    runner.train()
    return runner


def test_several_machines_continue_it(place, continued, alone):
    for code, log in continued:
        assert code == 0, log[-3000:]
    assert 'resumed epoch: 1' in continued[0][1]
    assert 'processes: 2' in continued[0][1]
    assert 'Sharded: this process holds' in continued[0][1]
    found = load_file(place / 'work' / 'epoch_2.pth')['state_dict']
    for key, value in learned_parameters(alone.model).items():
        # The order of sums differs.
        torch.testing.assert_close(
            found[key], value.detach(), rtol=1e-5, atol=1e-6
        )


def test_two_processes_test(place, continued, alone):
    out = place / 'metrics.json'
    code, log = ended(
        start(
            place,
            'dist_test.sh',
            place / 'work' / 'epoch_2.pth',
            2,
            '--out',
            out,
            '--out-item',
            'metrics',
            PORT=free_port(),
        )
    )
    assert code == 0, log[-3000:]
    accuracy = alone.message_hub.get_scalar('val/lt/acc').current()
    assert json.loads(out.read_text())['lt/acc'] == pytest.approx(accuracy)


SRUN = """#!/usr/bin/env bash
echo "$@" > "$SEEN"
while [[ $1 == -* ]]; do [[ $1 == -p ]] && shift; shift; done
exec "$@"
"""


@pytest.mark.parametrize(
    'script, args',
    [
        ('slurm_train.sh', ('work', '--resume')),
        ('slurm_test.sh', ('epoch_2.pth', '--tta')),
    ],
)
def test_a_cluster_is_asked_for_processes(place, tmp_path, script, args):
    """A stand-in of srun tells with what it is called."""
    for name, text in dict(srun=SRUN, python='#!/bin/sh\n').items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = environment(
        place,
        GPUS='16',
        GPUS_PER_NODE='4',
        SRUN_ARGS='--time=1 --qos=x',
        SEEN=str(tmp_path / 'seen'),
    )
    env.update(
        PYTHON=str(tmp_path / 'python'),
        PATH=f'{tmp_path}{os.pathsep}{env["PATH"]}',
    )
    subprocess.run(
        ['bash', TOOLS / script, 'part', 'job', 'config.py', *args],
        env=env,
        check=True,
        capture_output=True,
    )
    seen = (tmp_path / 'seen').read_text().split()
    assert seen[:3] == ['-p', 'part', '--job-name=job']
    for option in (
        '--ntasks=16',
        '--ntasks-per-node=4',
        '--gres=gpu:4',
        '--kill-on-bad-exit=1',
        '--time=1',
        '--qos=x',
        '--launcher=slurm',
        args[1],
    ):
        assert option in seen


def load_train():
    spec = importlib.util.spec_from_file_location('tool', TOOLS / 'train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('accumulated, rate', [(1, 0.025), (4, 0.1)])
def test_the_learning_rate_follows_all_images_of_a_step(
    place, accumulated, rate
):
    """Two images a batch against four in the config, where it is 0.05."""
    config = settings(place, place / f'scaled{accumulated}', batch=2)
    config['auto_scale_lr'] = dict(base_batch_size=4, enable=True)
    config['optim_wrapper']['accumulative_counts'] = accumulated
    config['train_cfg']['max_epochs'] = 1
    runner = tiny.runner(config)
    load_train().count_accumulated(runner)
    runner.train()
    (group,) = runner.optim_wrapper.optimizer.param_groups
    assert group['initial_lr'] == pytest.approx(rate)


def test_another_kind_of_runner_trains(place, monkeypatch):
    """A FlexibleRunner has no ``scale_lr``, and a strategy that has it."""
    tool, seen = load_train(), []
    runner = SimpleNamespace(train=lambda: seen.append('trained'))
    monkeypatch.setattr(tool.RUNNERS, 'build', lambda cfg: runner)
    args = ['--cfg-options', 'runner_type=FlexibleRunner']
    monkeypatch.setattr(sys, 'argv', ['x', str(place / 'tiny.py'), *args])
    monkeypatch.syspath_prepend(place)
    tool.main()
    assert seen == ['trained']


def test_a_silent_process_is_given_up(monkeypatch):
    """The seconds of the recipes reach torch, which waits no longer."""
    seen = {}
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda **kwargs: seen.update(kwargs),
    )
    monkeypatch.setattr(
        torch.multiprocessing, 'get_start_method', lambda **_: 'fork'
    )
    monkeypatch.setattr(torch.cuda, 'set_device', lambda _: None)
    for name in ('RANK', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '0')
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    init_dist('pytorch', **cfg.env_cfg.dist_cfg)
    assert seen['timeout'] == datetime.timedelta(minutes=15)


def test_the_config_for_large_towers():
    cfg = Config.fromfile(ROOT / 'configs/lift/vit-l14-sharded_folder.py')
    assert RUNNERS.get(cfg.runner_type) is ShardedRunner
    assert cfg.model.backbone.frozen_dtype == 'bfloat16'
