"""The tiny model of the parity files, built by lift_mm."""

import json
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


# Settings of TunedBackbone that must not change what is computed.
SHORTCUTS = {
    'fast': dict(),
    'plain': dict(fast=False),
    'no_mlp': dict(fast=dict(mlp=False)),
    'no_activation': dict(fast=dict(activation=False)),
    'recompute_mlp': dict(recompute='mlp'),
    'recompute_block': dict(recompute='block'),
    'recompute_plain': dict(recompute='block', fast=False),
}


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
    **shortcuts,
) -> torch.nn.Module:
    """Build a LongTailClassifier on the parity backbone, in eval mode.

    ``shortcuts`` go to ``TunedBackbone``, see :data:`SHORTCUTS`.
    """
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
                **shortcuts,
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


def tuners_of(options: dict) -> list:
    """Translate the programs' options into our configs."""
    options = {key.removeprefix('v.'): v for key, v in options.items()}
    layers = options.get('partial')
    if isinstance(layers, list):
        layers = list(range(*layers))
    plus = 'lift+' if 'plus' in options else 'lift'

    def own(name):
        """Layers and size of one method."""
        chosen = options.get(f'{name}_layers', layers)
        if isinstance(chosen, str):
            chosen = json.loads(chosen)
        return chosen

    size = dict(sizing=plus)
    found = []
    if options.get('full_tuning') or options.get('fft'):
        found.append(dict(type='FullTuning', layers=own('fft')))
    if options.get('bias_tuning') or options.get('bitfit'):
        found.append(dict(type='BitFit', layers=options.get('bitfit_layers')))
    if options.get('ln_tuning'):
        found.append(dict(type='NormTuning'))
    if options.get('vpt_shallow'):
        length = options.get('vpt_len')
        found.append(dict(type='VPT', deep=False, length=length, **size))
    if options.get('vpt_deep') or options.get('pt'):
        length = options.get('vpt_len', options.get('pt_len'))
        found.append(dict(type='VPT', length=length, layers=own('pt'), **size))
    for name, kind in (('adapter', 'Adapter'), ('adaptformer', 'AdaptFormer')):
        if options.get(name):
            dim = options.get(f'{name}_dim', options.get('adapter_dim'))
            found.append(
                dict(type=kind, hidden_dims=dim, layers=own(name), **size)
            )
    if options.get('lora'):
        rank = options.get('lora_dim', options.get('adapter_dim'))
        found.append(dict(type='LoRA', rank=rank, layers=own('lora'), **size))
    sites = [s for s in ('attn', 'mlp') if options.get(f'ssf_{s}')]
    sites += ['norm'] if options.get('ssf_ln') else []
    sites = ['attn', 'mlp'] if options.get('ssf') else sites
    if sites:
        found.append(dict(type='SSF', sites=sites))
    if options.get('mask') or options.get('aft'):
        found.append(
            dict(
                type='MaskedTuning',
                ratio=options.get('mask_ratio', options.get('aft_ratio')),
                seed=options.get('mask_seed', options.get('aft_seed', 0)),
                scope=options.get('aft_loc', 'all'),
                layers=own('aft'),
                draw=plus,
            )
        )
    return found


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the norm-wise relative difference of the parity files."""
    value, expected = value.detach().double(), expected.double()
    return float((value - expected).norm() / expected.norm().clamp(min=1e-30))
