"""The table of the docs, backbone x tuner, is what really happens.

``python tests/test_tuners/test_table.py`` writes it anew.
"""

import sys
from pathlib import Path

import pytest
import torch

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpretrain.registry import MODELS
from test_tuners.tiny_backbones import CONFIGS, feature, plain

from lift_mm.models.initialize import initialize
from lift_mm.tuners import attach_tuners, freeze, learned_parameters

PATH = Path(__file__).parents[2] / 'docs' / 'backbones_and_tuners.md'
VIT = dict(CONFIGS['VisionTransformer'])
TINY = dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)


def _open_clip_timm(model: str, pool: str, proj: str | None) -> dict:
    vision = dict(timm_model_name=model, timm_pool=pool, timm_proj=proj)
    return dict(
        type='lift_mm.CLIPTimm',
        arch=dict(embed_dim=24, vision_cfg=vision, text_cfg={}),
        timm_kwargs=TINY,
    )


# Name in the docs, and a tiny config of it (None: built by tiny_backbones).
BACKBONES = {
    'lift_mm.CLIPViT': 'CLIPViT',
    'lift_mm.CLIPResNet': dict(
        type='lift_mm.CLIPResNet',
        arch=dict(
            embed_dim=16,
            vision_cfg=dict(layers=[1, 1, 1, 1], width=8, image_size=32),
            text_cfg={},
        ),
    ),
    'lift_mm.CLIPTimm (SigLIP)': _open_clip_timm(
        'vit_base_patch16_siglip_224', 'map', 'none'
    ),
    'lift_mm.CLIPTimm (EVA02)': _open_clip_timm(
        'eva02_base_patch16_clip_224', 'token', None
    ),
    'VisionTransformer (ImageNet-21k, MAE)': 'VisionTransformer',
    'VisionTransformer (DINOv2: layer scale)': dict(
        VIT, layer_scale_init_value=0.1
    ),
    'VisionTransformer (DINOv2-g: SwiGLU)': dict(
        VIT,
        layer_scale_init_value=0.1,
        layer_cfgs=dict(ffn_type='swiglu_fused'),
    ),
    'DistilledVisionTransformer (DeiT)': 'DistilledVisionTransformer',
    'BEiTViT': 'BEiTViT',
    'ViTEVA02': 'ViTEVA02',
    'SwinTransformer': 'SwinTransformer',
    'SwinTransformerV2': 'SwinTransformerV2',
    'DeiT3': dict(VIT, type='DeiT3'),
    'TIMMBackbone (vit_*)': 'TIMMBackbone',
    'TIMMBackbone (vit_*_siglip_*)': dict(
        TINY, type='TIMMBackbone', model_name='vit_base_patch16_siglip_224'
    ),
    'TIMMBackbone (eva02_*)': dict(
        TINY,
        type='TIMMBackbone',
        model_name='eva02_tiny_patch14_224',
    ),
    'ResNet': dict(type='ResNet', depth=18),
}
TUNERS = {
    'AdaptFormer': dict(type='AdaptFormer'),
    'Adapter': dict(type='Adapter'),
    'LoRA q, v': dict(type='LoRA', rank=2),
    'LoRA out, fc1, fc2': dict(
        type='LoRA', rank=2, targets=['out', 'fc1', 'fc2']
    ),
    'SSF': dict(type='SSF'),
    'VPT': dict(type='VPT', length=2, init='lift+'),
    'MaskedTuning': dict(type='MaskedTuning', ratio=0.2),
    'BitFit': dict(type='BitFit'),
    'NormTuning': dict(type='NormTuning'),
    'FullTuning': dict(type='FullTuning', layers=1),
}


def build(config) -> torch.nn.Module:
    if isinstance(config, str):
        return plain(config)
    torch.manual_seed(0)
    net = MODELS.build(config)
    initialize(net)
    net.eval()
    return net


def outcome(config, tuner: dict) -> str:
    """Give '' where a tuner works, else the reason of its refusal."""
    net = build(config)
    freeze(net, 'net')
    try:
        attach_tuners(net, [tuner], 30)
    except ValueError as error:
        return str(error)
    small = isinstance(config, str) or 'CLIPResNet' not in config['type']
    side = 16 if small else 32
    out = feature(net, torch.randn(2, 3, side, side))
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in learned_parameters(net).items():
        assert parameter.grad is not None, f'{name} is never used'
    return ''


def table() -> str:
    """Give the document, measured."""
    head = ' | '.join(TUNERS)
    lines = [
        '# Which tuner fits which backbone',
        '',
        'Measured: each cell attaches the tuner to a tiny model of that '
        'class, runs forward and backward,',
        'and wants a gradient in every learned tensor. A number is the '
        'reason of a refusal, in the words of the error.',
        'SwinTransformerV2 has its norms behind its layers, so AdaptFormer '
        "reads there what the MLP gives and not the block's stream.",
        '',
        f'| backbone | {head} |',
        '|---|' + ':-:|' * len(TUNERS),
    ]
    reasons: list = []
    for name, config in BACKBONES.items():
        cells = []
        for tuner in TUNERS.values():
            reason = outcome(config, tuner)
            reason = reason.replace("'backbone.tuners'", '`tuners`')
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(str(reasons.index(reason) + 1) if reason else 'yes')
        lines.append(f'| {name} | {" | ".join(cells)} |')
    lines.append('')
    lines += [f'{i}. {reason}' for i, reason in enumerate(reasons, 1)]
    return '\n'.join(lines) + '\n'


def test_table():
    assert PATH.read_text() == table()


@pytest.mark.parametrize(
    'backbone, tuner, word',
    [
        ('SwinTransformer', 'VPT', 'places of tokens'),
        ('ViTEVA02', 'VPT', 'places of tokens'),
        ('DeiT3', 'AdaptFormer', 'never ln2'),
        ('BEiTViT', 'LoRA q, v', "'qkv'"),
        ('ResNet', 'AdaptFormer', 'no transformer blocks'),
    ],
)
def test_reason(backbone, tuner, word):
    assert word in outcome(BACKBONES[backbone], TUNERS[tuner])


if __name__ == '__main__':
    PATH.write_text(table())
