"""Every recipe is built and takes a step, with a tiny CLIP in place."""

import miniature
import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

CONFIGS = sorted(
    path.relative_to(REPO).as_posix()
    for path in (REPO / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return miniature.clip(tmp_path_factory.mktemp('clip'))


def test_there_are_configs():
    assert 'configs/lift/vit-b16_imagenet-lt.py' in CONFIGS


@pytest.mark.parametrize('path', CONFIGS)
def test_config(path, clip):
    cfg = Config.fromfile(REPO / path)
    assert len((REPO / path).read_text().splitlines()) <= 25
    inner = cfg.model.backbone.backbone
    if inner.arch.endswith('.json'):  # embedded weights, real ones
        inner.arch = str(REPO / inner.arch)
        inner.pretrained = str(REPO / inner.pretrained)
    else:
        assert inner.pretrained == 'openai'
        inner.update(arch=clip['arch'], pretrained=clip['pretrained'])
        cfg.model.head.in_channels = clip['width']
    cfg.model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for loader in ('train', 'val', 'test'):
            for step in cfg[f'{loader}_dataloader'].dataset.pipeline:
                TRANSFORMS.build(step)
        for step in cfg.tta_pipeline:
            TRANSFORMS.build(step)
        model = MODELS.build(cfg.model)
        classes = cfg.model.head.num_classes
        names = [f'class {i}' for i in range(classes)]
        for module in model.modules():
            if hasattr(module, 'set_class_info'):
                module.set_class_info(names, [i + 1 for i in range(classes)])
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        _step(model, wrapper)
        tta = MODELS.build(dict(cfg.tta_model, module=model))
    assert tta.module is model
    assert isinstance(wrapper.optimizer, torch.optim.SGD)
    group = wrapper.optimizer.param_groups[0]
    recipe = (group['lr'], group['momentum'], group['weight_decay'])
    assert recipe == (0.05 if 'demo' in path else 0.01, 0.9, 5e-4)
    scheduler = cfg.param_scheduler
    assert scheduler.by_epoch and 'end' not in scheduler


def _step(model, wrapper) -> None:
    size = model.backbone.img_size[0]
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8)] * 2
    samples = [DataSample().set_gt_label(i) for i in (0, 1)]
    before = {k: v.clone() for k, v in model.named_parameters()}
    model.train()
    log = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert torch.isfinite(log['loss'])
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved <= parameter.requires_grad, name
    assert not torch.equal(before['head.fc.weight'], model.head.fc.weight)


def test_stock_print_of_a_config():
    """The text of a config can be read back, as the runner saves it."""
    cfg = Config.fromfile(REPO / CONFIGS[0])
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.model == cfg.model
