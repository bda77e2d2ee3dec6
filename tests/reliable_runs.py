"""A run of two epochs, ten iterations, that tests interrupt."""

from pathlib import Path

import torch
from mmengine.hooks import Hook
from test_tuners.tiny_models import (
    clip_file,
    image_folder,
    model_config,
    run_config,
    runner,
)

from lift_mm.tuners import learned_parameters

HOOKS = [
    'ResumeHook',
    'ClassInfoHook',
    'TunedCheckpointHook',
    'FiniteHook',
    'StopHook',
]


class At(Hook):
    """Do something in the course of an iteration, counted from 1."""

    def __init__(self, iteration, action, moment='before', priority='NORMAL'):
        self.iteration, self.action = iteration, action
        self.moment, self.priority = moment, priority

    def before_train_iter(self, runner, *args, **kwargs):
        self._act('before', runner)

    def after_train_iter(self, runner, *args, **kwargs):
        self._act('after', runner)

    def _act(self, moment, runner):
        if (moment, runner.iter + 1) == (self.moment, self.iteration):
            self.action(runner)


def data(root: Path) -> Path:
    """Write the images and the base weights."""
    image_folder(root / 'images')
    clip_file(root)
    return root


def config(data: Path, work_dir: Path, counts=1, **checkpoint) -> dict:
    """Give a config with the hooks of the recipes."""
    config = run_config(
        work_dir,
        model_config(str(data / 'clip0.pt')),
        data / 'images',
        custom_hooks=[dict(type=f'lift_mm.{name}') for name in HOOKS],
    )
    config['optim_wrapper']['accumulative_counts'] = counts
    config['default_hooks']['checkpoint'] = {
        **dict(type='lift_mm.CheckpointHook', interval=1, max_keep_ckpts=2),
        **checkpoint,
    }
    return config


def learned(run) -> torch.Tensor:
    """Give what the run has learned, and the momenta, in one vector."""
    momenta = run.optim_wrapper.optimizer.state.values()
    tensors = [p.detach() for p in learned_parameters(run.model).values()]
    tensors += [state['momentum_buffer'] for state in momenta]
    return torch.cat([tensor.flatten() for tensor in tensors])


def train(config: dict, *hooks) -> torch.Tensor:
    """Run to the end."""
    run = runner(config, *hooks)
    run.train()
    return learned(run)


def resume(config: dict, *hooks) -> torch.Tensor:
    """Run on, as ``--resume auto`` does."""
    return train({**config, 'resume': True}, *hooks)
