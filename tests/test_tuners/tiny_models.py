"""A whole classifier and a whole run in miniature, for the tests."""

import itertools
from pathlib import Path
from unittest import mock

import numpy as np
import open_clip
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from PIL import Image

from lift_mm.registry import MODELS

ARCH = dict(
    embed_dim=8,
    vision_cfg=dict(
        image_size=16, layers=2, width=32, head_width=16, patch_size=4
    ),
    text_cfg=dict(width=8, heads=1, layers=1),
)
NAMES = ('fox', 'owl', 'yak')
_NUMBERS = itertools.count()
ADAPTFORMER = (dict(type='AdaptFormer', hidden_dims=2),)
FROZEN, LEARNED = 'layers.0.ln1.weight', 'layers.0.adaptformer.up.weight'


def clip_file(folder: Path, seed: int = 0) -> str:
    """Write a random CLIP in open_clip's format."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**ARCH)
    with torch.no_grad():
        for parameter in model.visual.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = Path(folder) / f'clip{seed}.pt'
    torch.save(model.state_dict(), path)
    return str(path)


def model_config(
    pretrained=None, tuners=ADAPTFORMER, num_classes=3, init=None, **kwargs
) -> dict:
    """Give the config of a LongTailClassifier."""
    return dict(
        type='lift_mm.LongTailClassifier',
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        backbone=dict(
            type='lift_mm.TunedBackbone',
            backbone=dict(
                type='lift_mm.CLIPViT', arch=ARCH, pretrained=pretrained
            ),
            tuners=list(tuners),
        ),
        head=dict(
            type='lift_mm.CosineHead',
            num_classes=num_classes,
            in_channels=32,
            init=init,
            loss=dict(type='lift_mm.LogitAdjustedLoss'),
        ),
        **kwargs,
    )


def classifier(pretrained=None, names=None, **kwargs) -> torch.nn.Module:
    """Build one in eval mode, its learned tensors moved by noise."""
    model = MODELS.build(model_config(pretrained, **kwargs))
    if names:
        model.set_class_info(names)
        model.head.set_class_info(names)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.eval()
    return model


def logits(model, seed: int = 1) -> torch.Tensor:
    """Give a model's answer to two images."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    with torch.no_grad():
        return model(images, mode='tensor')


def image_folder(root: Path, counts=(5, 3, 2)) -> Path:
    """Write ``root/<class>/<number>.png`` of 16 x 16 pixels."""
    rng = np.random.default_rng(0)
    for name, number in zip(NAMES, counts):
        (root / name).mkdir(parents=True)
        for index in range(number):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f'{index}.png')
    return root


def dataset(root: Path, train: bool = True, **kwargs) -> dict:
    """Give the config of a folder whose pipeline draws random numbers."""
    random = [
        dict(type='RandomResizedCrop', scale=16),
        dict(type='RandomFlip', prob=0.5),
    ]
    pipeline = [dict(type='LoadImageFromFile'), *(random if train else [])]
    return dict(
        type='lift_mm.LongTailFolder',
        data_root=str(root),
        split='',
        test_mode=not train,
        pipeline=[*pipeline, dict(type='PackInputs')],
        **kwargs,
    )


def loader(data: dict, **kwargs) -> dict:
    """Give the config of a data loader, two images a batch."""
    train = not data.get('test_mode')
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=train),
        collate_fn=dict(type='default_collate'),
        dataset=data,
        **kwargs,
    )


def run_config(work_dir: Path, model: dict, root: Path, **kwargs) -> dict:
    """Give the config of a training of two epochs, five batches each."""
    return dict(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
            model=model,
            train_dataloader=loader(dataset(root)),
            train_cfg=dict(type='lift_mm.ResumableEpochLoop', max_epochs=2),
            optim_wrapper=dict(
                constructor='lift_mm.TunedOptimWrapperConstructor',
                optimizer=dict(
                    type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4
                ),
            ),
            param_scheduler=dict(type='CosineAnnealingLR', T_max=2),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=100)),
            custom_hooks=[
                dict(type='lift_mm.ClassInfoHook'),
                dict(type='lift_mm.TunedCheckpointHook'),
            ],
            randomness=dict(seed=3),
            log_level='ERROR',
        ),
        **kwargs,
    )


def runner(config: dict, *hooks) -> Runner:
    """Build a runner with more hooks, under a name of its own."""
    name = f'{Path(config["work_dir"]).name}-{next(_NUMBERS)}'
    cfg = Config(dict(config, experiment_name=name))
    # Half a second of asking compilers for their versions.
    with (
        mock.patch.object(Runner, '_log_env'),
        mock.patch.object(FlexibleRunner, '_log_env'),
    ):
        runner = RUNNERS.build(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
