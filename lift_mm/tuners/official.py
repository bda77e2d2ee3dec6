"""Tuned states of the published LIFT and LIFT+ programs, in our names."""

import re

import torch
from torch import Tensor, nn

from .blocks import find_blocks

State = dict[str, Tensor]

_BOTTLENECK = {'ln': 'norm', 'down_proj': 'down', 'up_proj': 'up'}
_SITES = {
    'attn_in': 'qkv',
    'attn_out': 'proj',
    'mlp_in': 'fc1',
    'mlp_out': 'fc2',
    'ln_1': 'norm1',
    'ln_2': 'norm2',
}
_LORA = {'lora_A': 'A', 'lora_B': 'B', 'down': 'A', 'up': 'B'}
_LAYERS = {
    'ln_1': 'ln1',
    'ln_2': 'ln2',
    'norm1': 'ln1',
    'norm2': 'ln2',
    'attn.in_proj': 'attn.qkv',
    'attn.out_proj': 'attn.proj',
    'mlp.c_fc': 'ffn.layers.0.0',
    'mlp.c_proj': 'ffn.layers.1',
    'mlp.in_proj': 'ffn.layers.0.0',
    'mlp.out_proj': 'ffn.layers.1',
}
# Only a linear head has a bias.
_HEAD = r'(?:head|classifier)\.(weight|bias)$'
# Layers of mmpretrain's ViT, and the sites they are.
_LAYER_SITES = {
    'ln1': 'norm1',
    'ln2': 'norm2',
    'attn.qkv': 'qkv',
    'attn.proj': 'proj',
    'ffn.layers.0.0': 'fc1',
    'ffn.layers.1': 'fc2',
}
# LIFT numbers tuned biases and norms through, block by block.
_BIASES = (
    'attn.qkv',
    'attn.proj',
    'ln1',
    'ffn.layers.0.0',
    'ffn.layers.1',
    'ln2',
)


def convert_key(key: str) -> str | None:
    """Give the name in a tuned ``VisionTransformer`` of a published key.

    Args:
        key: E.g. ``adaptformer_list.3.up_proj.weight`` (LIFT) or
            ``image_encoder.blocks.3.adaptformer.up.weight`` (LIFT+).

    Returns:
        ``layers.3.adaptformer.up.weight``, or None where it has no place.
    """
    lift = re.fullmatch(r'(\w+)_(?:list|tuned)\.(\d+)\.?(.*)', key)
    plus = re.fullmatch(r'(?:image_encoder\.)?blocks\.(\d+)\.(.+)', key)
    name = None
    try:
        if lift:
            name = _lift_key(lift[1], int(lift[2]), lift[3])
        elif plus:
            name = _plus_key(int(plus[1]), plus[2])
    except KeyError:  # a name that the programs do not have
        return None
    return None if name is None or name.endswith('.') else name


def _lift_key(kind: str, index: int, leaf: str) -> str | None:
    block = f'layers.{index}'
    first, _, rest = leaf.partition('.')
    if kind in ('adapter', 'adaptformer'):
        name = leaf
        if leaf != 'scale':
            name = f'{_BOTTLENECK[first]}.{rest}'
        return f'{block}.{kind}.{name}'
    if kind == 'lora':
        return f'{block}.lora.{first}.{_LORA[rest]}'
    if kind == 'vpt' and leaf == 'prompt':
        return f'{block}.vpt.tokens'
    if kind.startswith('ssf_'):
        return f'{block}.ssf.{_SITES[first]}.{rest}'
    if kind == 'masked_linear' and rest.startswith('optimized_'):
        name = rest.removeprefix('optimized_')
        return f'{block}.masked.{_SITES[first]}.{name}'
    if kind == 'bias':
        number, site = divmod(index, len(_BIASES))
        return f'layers.{number}.{_BIASES[site]}.bias'
    if kind == 'ln':
        return f'layers.{index // 2}.ln{index % 2 + 1}.{leaf}'
    if kind == 'block':
        return f'{block}.{_layer_key(leaf)}'
    return None


def _plus_key(index: int, leaf: str) -> str | None:
    block = f'layers.{index}'
    if leaf == 'prompt':
        return f'{block}.vpt.tokens'
    if leaf.startswith('adaptformer.'):
        return f'{block}.{leaf}'
    part = re.fullmatch(r'(attn|mlp)\.(lora|adapter|ssf|aft)\.(.+)', leaf)
    if part is None:
        match = re.fullmatch(r'(norm\d)_(weight|bias)', leaf)
        if match:
            return f'{block}.{_LAYERS[match[1]]}.{match[2]}'
        match = re.fullmatch(r'(attn|mlp)_(in|out)_proj_(weight|bias)', leaf)
        if match:
            layer = _LAYERS[f'{match[1]}.{match[2]}_proj']
            return f'{block}.{layer}.{match[3]}'
        return None
    where, kind, rest = part.groups()
    first, _, name = rest.partition('.')
    if kind == 'adapter':
        return f'{block}.adapter.{rest}'
    if kind == 'lora':
        return f'{block}.lora.{first}.{_LORA[name]}'
    site = _SITES[f'{where}_{first.removesuffix("_proj")}']
    if kind == 'ssf':
        return f'{block}.ssf.{site}.{name}'
    match = re.fullmatch(r'masked_(weight|bias)\.optimized_params', name)
    return f'{block}.masked.{site}.{match[1]}' if match else None


def _layer_key(leaf: str) -> str:
    name, _, kind = leaf.rpartition('.')
    if not name or name not in _LAYERS:  # attn.in_proj_weight
        name, _, kind = leaf.rpartition('_')
    return f'{_LAYERS[name]}.{kind}'


def rename_for(net: nn.Module, state: State) -> State:
    """Give a converted state the names of another net's blocks.

    Args:
        net: A backbone, e.g. a ViT of timm, whose blocks are
            ``timm_model.blocks.3`` and not ``layers.3``.
        state: What :func:`convert` gives.
    """
    if not any(key.startswith('backbone.layers.') for key in state):
        return state
    names = {module: name for name, module in net.named_modules()}
    places: dict[str, str] = {}
    for index, block in enumerate(find_blocks(net)):
        root = f'layers.{index}.'
        for ours, site in _LAYER_SITES.items():
            if site in block.sites:
                places[root + ours + '.'] = names[block.sites[site]]
        places[root] = names[block.module]
    renamed = {}
    for key, value in state.items():
        inner = key.removeprefix('backbone.')
        old = next((p for p in places if inner.startswith(p)), None)
        if old and inner != key:
            key = f'backbone.{places[old]}.{inner.removeprefix(old)}'
        renamed[key] = value
    return renamed


def convert(checkpoint: dict) -> tuple[State, list[str]]:
    """Rename the tensors of a published checkpoint.

    Args:
        checkpoint: What the programs saved: ``tuner`` and, from LIFT,
            ``head``; or a flat dict of tensors.

    Returns:
        A state for a ``LongTailClassifier`` whose backbone has the same
        tuners (keys ``backbone.*``, ``head.fc.weight`` and, of a linear
        head, ``head.fc.bias``), and the keys that have no place in it.
    """
    flat: State = {}
    nested = {k: v for k, v in checkpoint.items() if isinstance(v, dict)}
    for name, state in (nested or {'tuner': checkpoint}).items():
        prefix = 'head.' if name == 'head' else ''
        flat.update({prefix + key: value for key, value in state.items()})
    converted, unplaced = {}, []
    for key, value in flat.items():
        if not isinstance(value, Tensor):
            unplaced.append(key)
        elif match := re.search(_HEAD, key):
            converted[f'head.fc.{match[1]}'] = value.float()
        elif value.dtype == torch.bool:  # LIFT+ saves its masks
            name = convert_key(f'{key.rpartition(".")[0]}.optimized_params')
            if name is None:
                unplaced.append(key)
                continue
            index = value.flatten().nonzero().flatten().int()
            converted[f'backbone.{name}_index'] = index
        elif name := convert_key(key):
            if name.endswith('adaptformer.scale'):
                value = value.reshape(1)
            converted['backbone.' + name] = value.float()
        else:
            unplaced.append(key)
    return converted, unplaced
