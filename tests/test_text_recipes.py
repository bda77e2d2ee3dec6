"""The recipes with a text tower, two steps of each by the runner."""

import miniature
import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmengine.runner import Runner

from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

RECIPES = sorted(path.name for path in (REPO / 'configs/text').glob('*.py'))


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    root = tmp_path_factory.mktemp('miniature')
    files = miniature.clip(root / 'clip')
    tree = miniature.imagenet_lt(root / 'imagenet', tests=9)
    chosen = dict(
        option.split('=', 1) for option in miniature.options(files, tree)
    )
    del chosen['model.head.in_channels']  # a text head asks its tower
    return chosen


@pytest.mark.parametrize('recipe', RECIPES)
def test_two_steps(recipe, options, tmp_path):
    cfg = Config.fromfile(REPO / 'configs/text' / recipe)
    cfg.merge_from_dict(options)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].update(
            num_workers=0, batch_size=4, persistent_workers=False
        )
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=2, val_interval=2
    )
    cfg.param_scheduler = None
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=2
    )
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = recipe
    torch.manual_seed(0)
    runner = Runner.from_cfg(cfg)
    start = {k: v.clone() for k, v in runner.model.named_parameters()}
    model = runner.train()
    learned = learned_parameters(model)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, start[name].to(parameter.device))
        assert moved is (name in learned), name
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2 and all(map(torch.isfinite, map(_tensor, losses)))
    assert runner.message_hub.get_scalar('val/lt/acc').current() >= 0
    stored = load_file(tmp_path / 'iter_2.pth')['state_dict']
    assert stored.keys() == learned.keys() | {'fingerprint'}


def _tensor(value) -> torch.Tensor:
    return torch.as_tensor(float(value))
