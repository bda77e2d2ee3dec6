"""Every recipe is built and takes a step, with a tiny backbone in place."""

import json
from pathlib import Path

import miniature
import open_clip
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
VIT = dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=64)


def load(path: str) -> Config:
    return Config.fromfile(REPO / path)


def kind(config) -> str:
    return config.type.rpartition('.')[2]


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return miniature.clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture(scope='module')
def resnet(tmp_path_factory):
    """Write a random CLIP whose image tower is a ResNet of 64 pixels."""
    folder = tmp_path_factory.mktemp('resnet')
    arch = dict(
        embed_dim=32,
        quick_gelu=True,
        vision_cfg=dict(
            image_size=64, layers=[1, 1, 1, 1], width=8, head_width=32
        ),
        text_cfg=dict(width=32, heads=2, layers=1),
    )
    torch.manual_seed(0)
    state = open_clip.CLIP(**arch).state_dict()
    torch.save(state, folder / 'clip.pt')
    (folder / 'clip.json').write_text(json.dumps(arch))
    return dict(
        arch=str(folder / 'clip.json'), pretrained=str(folder / 'clip.pt')
    )


def test_there_are_configs():
    assert 'configs/lift/vit-b16_imagenet-lt.py' in CONFIGS
    grid = {
        f'configs/{folder}/{arch}_{data}.py'
        for folder in ('lift', 'lift_plus')
        for arch in 'vit-b16 vit-b32 vit-l14 vit-l14-336 rn50 rn101'.split()
        for data in (
            'imagenet-lt',
            'places-lt',
            'inaturalist2018',
            *(f'cifar100-lt-ir{ratio}' for ratio in (100, 50, 10)),
        )
    }
    assert grid <= set(CONFIGS)


@pytest.mark.parametrize('path', CONFIGS)
def test_config(path, clip, resnet, tmp_path):
    cfg = load(path)
    assert len((REPO / path).read_text().splitlines()) <= 25
    side = shrink(cfg, clip, resnet, tmp_path)
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
        take_step(model, wrapper, side, cfg.optim_wrapper)
        tta = MODELS.build(dict(cfg.tta_model, module=model))
    assert tta.module is model
    assert isinstance(wrapper.optimizer, torch.optim.SGD)
    group = wrapper.optimizer.param_groups[0]
    assert (group['momentum'], group['weight_decay']) == (0.9, 5e-4)
    scheduler = cfg.param_scheduler
    assert scheduler.by_epoch and 'end' not in scheduler


def shrink(cfg: Config, clip: dict, resnet: dict, folder: Path) -> int:
    """Put a tiny backbone in place; give the side of its images."""
    inner, head = cfg.model.backbone.backbone, cfg.model.head
    if inner.get('arch', '').endswith('.json'):  # embedded weights, real ones
        inner.arch = str(REPO / inner.arch)
        inner.pretrained = str(REPO / inner.pretrained)
        return 32
    head.num_classes = min(head.num_classes, 100)
    for tuner in cfg.model.backbone.tuners:
        if tuner.get('layers'):
            tuner.layers = min(tuner.layers, 2)
    side = 224
    if kind(inner) == 'CLIPResNet':
        assert inner.pretrained == 'openai'
        inner.update(resnet)
        head.in_channels, side = 32, 64
    elif kind(inner) == 'CLIPViT':
        assert inner.pretrained == 'openai'
        inner.update(arch=clip['arch'], pretrained=clip['pretrained'])
        if kind(head) != 'TextHead':
            head.in_channels = 32 if cfg.model.get('neck') else clip['width']
    elif kind(inner) == 'TIMMBackbone':
        assert inner.pretrained
        inner.update(pretrained=False, embed_dim=64, depth=2, num_heads=2)
        inner.patch_size = 112
        head.in_channels = 64
    else:
        assert inner.init_cfg.type == 'Pretrained'
        inner.update(arch=VIT, patch_size=112, init_cfg=None)
        head.in_channels = 64
    if (head.get('init') or {}).get('descriptors'):
        head.init.descriptors = str(folder / 'descriptors.json')
        (folder / 'descriptors.json').write_text('{"class 0": ["round"]}')
    return side


def take_step(model, wrapper, side: int, options: dict) -> None:
    images = [torch.randint(0, 256, (3, side, side), dtype=torch.uint8)] * 2
    samples = [DataSample().set_gt_label(i) for i in (0, 1)]
    before = {k: v.clone() for k, v in model.named_parameters()}
    model.train()
    for _ in range(options.get('accumulative_counts', 1)):
        batch = dict(inputs=list(images), data_samples=samples)
        log = model.train_step(batch, wrapper)
        assert torch.isfinite(log['loss'])
    moved = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    learned = {n for n, p in model.named_parameters() if p.requires_grad}
    assert moved and moved <= learned
    rows = {name for name in before if name.startswith('head.fc.weight')}
    assert rows <= moved


def test_stock_print_of_a_config():
    """The text of a config can be read back, as the runner saves it."""
    cfg = load(CONFIGS[0])
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.model == cfg.model
