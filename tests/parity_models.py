"""The tiny model of the parity files, built by lift_mm."""

from pathlib import Path

import parity_data
import torch
from safetensors.torch import save_file

from lift_mm.registry import MODELS

ARCH = dict(
    embed_dim=64,
    quick_gelu=True,
    vision_cfg=dict(image_size=32, layers=4, width=128, patch_size=8),
    text_cfg=dict(width=64, heads=2, layers=2),
)


def clip_state() -> dict:
    """Give the whole CLIP: image tower, text tower, compact token rows."""
    state = {
        key.removeprefix('backbone/'): value
        for key, value in parity_data.load('vision_tower').items()
        if key.startswith('backbone/')
    }
    for key, value in parity_data.load('semantic_init').items():
        if key.startswith('text/'):
            state[key.removeprefix('text/')] = value
    return state


def clip_file(folder: Path) -> str:
    """Write the whole CLIP in open_clip's format, and give the path."""
    path = folder / 'parity-clip.safetensors'
    if not path.exists():
        save_file(clip_state(), path)
    return str(path)


def build(
    folder: Path,
    tuners=(),
    num_classes: int = 40,
    class_counts=None,
    init=None,
    scale: float = 25.0,
) -> torch.nn.Module:
    """Build a LongTailClassifier on the parity backbone, in eval mode."""
    loss = dict(type='lift_mm.LogitAdjustedLoss', class_counts=class_counts)
    model = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=dict(
                    type='lift_mm.CLIPViT',
                    arch=ARCH,
                    pretrained=clip_file(folder),
                ),
                tuners=list(tuners),
            ),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=num_classes,
                in_channels=128,
                scale=scale,
                init=init,
                loss=loss,
            ),
        )
    )
    model.eval()
    return model


_LIFT = {
    'ln': 'norm',
    'down_proj': 'down',
    'up_proj': 'up',
}


def adaptformer_state(tensors: dict, prefix: str) -> dict:
    """Rename AdaptFormer tensors of either program to those of lift_mm.

    Args:
        tensors: A parity file.
        prefix: E.g. ``'v1/adaptformer/param/'``.
    """
    state = {}
    for key, value in tensors.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        if name.startswith('adaptformer_list.'):
            _, index, leaf = name.split('.', 2)
        else:
            name = name.removeprefix('image_encoder.blocks.')
            index, _, leaf = name.split('.', 2)
        part, _, kind = leaf.partition('.')
        leaf = f'{_LIFT.get(part, part)}.{kind}'.rstrip('.')
        value = value.reshape(1) if leaf == 'scale' else value
        state[f'layers.{index}.adaptformer.{leaf}'] = value
    return state


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the norm-wise relative difference of the parity files."""
    value, expected = value.detach().double(), expected.double()
    return float((value - expected).norm() / expected.norm().clamp(min=1e-30))
