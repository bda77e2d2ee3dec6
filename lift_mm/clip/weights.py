"""CLIP weights: where they come from, and their keys in mmpretrain's ViT."""

import os
import pickle

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from lift_mm import whole_files
from lift_mm.safe_load import load_file, refusal

from .torchscript import is_torchscript, read_torchscript

State = dict[str, Tensor]

_FETCH_AGAIN = (
    'a torn download is the usual reason: delete the file and fetch it again '
    '(key `backbone.pretrained`)'
)

# What an OpenAI state dict holds besides tensors of the two towers.
_NOT_WEIGHTS = ('input_resolution', 'context_length', 'vocab_size')

_VIT_KEYS = {
    'class_embedding': 'cls_token',
    'positional_embedding': 'pos_embed',
    'conv1.weight': 'patch_embed.projection.weight',
    'ln_pre': 'pre_norm',
    'ln_post': 'ln1',
}
_BLOCK_KEYS = {
    'ln_1': 'ln1',
    'ln_2': 'ln2',
    'attn.in_proj_weight': 'attn.qkv.weight',
    'attn.in_proj_bias': 'attn.qkv.bias',
    'attn.out_proj': 'attn.proj',
    'mlp.c_fc': 'ffn.layers.0.0',
    'mlp.c_proj': 'ffn.layers.1',
    'ls_1.gamma': 'attn.gamma1.weight',
    'ls_2.gamma': 'ffn.gamma2.weight',
}


def vit_key(key: str) -> str | None:
    """Give the key in mmpretrain's ``VisionTransformer`` of a CLIP key.

    Args:
        key: A key of the image tower in OpenAI's and open_clip's naming,
            e.g. ``visual.transformer.resblocks.3.ln_1.weight``.

    Returns:
        The other key (``layers.3.ln1.weight``), or None where the ViT has
        no such tensor (text tower, projection).
    """
    if not key.startswith('visual.'):
        return None
    key = key[len('visual.') :]
    prefix, names = '', _VIT_KEYS
    if key.startswith('transformer.resblocks.'):
        index, key = key[len('transformer.resblocks.') :].split('.', 1)
        prefix, names = f'layers.{index}.', _BLOCK_KEYS
    if key in names:
        return prefix + names[key]
    stem, _, leaf = key.rpartition('.')
    return f'{prefix}{names[stem]}.{leaf}' if stem in names else None


def to_vit(state: State, avg_pool: bool = False) -> State:
    """Turn a CLIP state dict into one of mmpretrain's ``VisionTransformer``.

    Args:
        state: CLIP state dict; only ``visual.*`` is looked at.
        avg_pool: The last norm follows an average over the patch tokens
            (``ln2`` there) instead of the tokens themselves (``ln1``).

    Returns:
        New state dict in float32; the class token has shape (1, 1, D), the
        positions (1, 1 + N, D).
    """
    out = {}
    for key, value in state.items():
        name = vit_key(key)
        if name is None:
            continue
        if avg_pool and name.startswith('ln1.'):
            name = name.replace('ln1.', 'ln2.')
        value = value.float()
        if name == 'cls_token':
            value = value.reshape(1, 1, -1)
        elif name == 'pos_embed':
            value = value.unsqueeze(0)
        out[name] = value
    return out


def projection(state: State) -> Tensor | None:
    """Give the projection from features to the space of text, (D, E).

    ``visual.proj`` of a ViT, or the last linear layer of a timm tower; None
    where the features lie there already.
    """
    if 'visual.proj' in state:
        return state['visual.proj'].float()
    for key in ('visual.head.proj.weight', 'visual.trunk.head.weight'):
        if key in state:
            return state[key].float().T
    return None


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Fit a square grid of position embeddings to another image size.

    Bicubic with anti-aliasing, as open_clip does it; the class token's
    position stays.

    Args:
        positions: (1, 1 + h * h, D).
        grid: Rows and columns of patches wanted.

    Returns:
        (1, 1 + rows * columns, D).
    """
    token, patches = positions[:, :1], positions[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    if (side, side) == tuple(grid):
        return positions
    patches = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(
        patches, size=grid, mode='bicubic', antialias=True, align_corners=False
    )
    patches = patches.flatten(2).transpose(1, 2)  # (1, rows * columns, D)
    return torch.cat([token, patches], dim=1)


def locate(arch_name: str | None, pretrained: str) -> str:
    """Give the local file of weights, downloading it for a weight tag.

    Args:
        arch_name: open_clip's name of the model; None for an own config.
        pretrained: A path, or a weight tag that open_clip knows for it.

    Raises:
        ValueError: Neither a file nor a tag, or the download failed.
    """
    pretrained = os.path.expanduser(pretrained)
    if os.path.isfile(pretrained):
        return pretrained
    import open_clip

    tags = []
    if arch_name:
        tags = open_clip.list_pretrained_tags_by_model(arch_name)
    if pretrained not in tags:
        raise ValueError(
            f'{pretrained!r} is neither a file nor a weight tag of '
            f'{arch_name or "an own model config"} (key '
            f'`backbone.pretrained`); tags: {", ".join(tags) or "none"}.'
        )
    config = open_clip.get_pretrained_cfg(arch_name, pretrained)
    try:
        return open_clip.download_pretrained(config)
    except Exception as error:  # every client raises its own kind
        source = config.get('hf_hub') or config.get('url')
        reason = str(error).strip().splitlines()[0] if str(error) else ''
        raise ValueError(
            f'The weights {pretrained!r} of {arch_name} could not be '
            f'downloaded from {source} ({type(error).__name__}: {reason}); '
            'without network, fetch that file elsewhere and give its path '
            'as `backbone.pretrained`.'
        ) from error


def read(path: str) -> State:
    """Read a weight file of any supported format as one flat state dict.

    Formats: open_clip ``.pt``/``.bin``/``.safetensors`` (also a trainer's
    checkpoint), OpenAI's TorchScript archive, mmpretrain checkpoints.
    Nothing in the file is executed.

    Raises:
        ValueError: The file is damaged, cannot be read or holds no tensors.
    """
    try:
        # torch leaves out the checksums.
        reason = whole_files.is_archive(path) and whole_files.damage(path)
        if reason:
            raise ValueError(f'{path!r} is damaged ({reason})')
        if is_torchscript(path):
            state = read_torchscript(path)
            state.setdefault('input_resolution', torch.zeros(()))
        else:
            state = load_file(path, map_location='cpu')
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{str(refusal(path, error)).rstrip(".")} (key '
            '`backbone.pretrained`).'
        ) from error
    except ValueError as error:
        text = str(error).rstrip('.')
        if 'could run code' in text:
            raise ValueError(f'{text} (key `backbone.pretrained`).') from error
        raise ValueError(f'{text}; {_FETCH_AGAIN}.') from error
    except Exception as error:
        reason = (str(error).splitlines() or ['empty'])[0].rstrip('.')
        raise ValueError(
            f'{path!r} cannot be read as weights ({type(error).__name__}: '
            f'{reason}); {_FETCH_AGAIN}.'
        ) from error
    for key in ('state_dict', 'model'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    state = {
        key.removeprefix('module.'): value
        for key, value in (state.items() if isinstance(state, dict) else ())
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not state:
        raise ValueError(
            f'{path!r} holds no tensors; expected are weights of open_clip, '
            'OpenAI or mmpretrain (key `backbone.pretrained`).'
        )
    return state


def decide_quick_gelu(
    config: dict,
    arch_name: str | None,
    pretrained: str | None,
    state: State | None,
    wanted: bool | None,
) -> bool:
    """Say whether weights were trained with QuickGELU.

    The wrong activation costs accuracy without any error, so what the
    weights say wins, and a config that contradicts it is refused.

    Args:
        config: Model config; its ``quick_gelu`` is the fallback.
        arch_name: open_clip's name of the model, if it has one.
        pretrained: Tag or path as the user gave it.
        state: The weights read from it, if any.
        wanted: The user's ``quick_gelu``.

    Raises:
        ValueError: ``wanted`` contradicts the weights.
    """
    default = bool(config.get('quick_gelu', False))
    known = None
    is_file = pretrained and os.path.isfile(os.path.expanduser(pretrained))
    if pretrained and arch_name and not is_file:
        import open_clip

        tag = open_clip.get_pretrained_cfg(arch_name, pretrained)
        known = bool(tag.get('quick_gelu', default))
    elif state and any(key in state for key in _NOT_WEIGHTS):
        known = True  # OpenAI's own format
    if known is not None:
        if wanted is not None and wanted != known:
            raise ValueError(
                f'quick_gelu={wanted} contradicts the weights {pretrained!r}'
                f', which were trained with quick_gelu={known}; drop the key '
                '`backbone.quick_gelu`.'
            )
        return known
    if wanted is not None:
        return wanted
    if state and 'quick_gelu' not in config and arch_name:
        print_log(
            f'{pretrained!r} does not say which GELU it was trained with; '
            f'{arch_name} means the exact GELU. Set backbone.quick_gelu=True '
            'for weights of OpenAI, MetaCLIP or DFN.',
            logger='current',
        )
    return default


def check_fit(own: State, state: State, arch: str, source: str) -> None:
    """Compare two state dicts before one is loaded into a net.

    Raises:
        ValueError: A tensor is missing, left over, or of another shape; the
            first one is named.
    """
    for key in {**own, **state}:  # always the same one first
        have, need = state.get(key), own.get(key)
        if have is not None and need is not None and have.shape == need.shape:
            continue
        have = 'absent' if have is None else str(tuple(have.shape))
        need = 'no such tensor' if need is None else str(tuple(need.shape))
        raise ValueError(
            f'The weights {source!r} are not those of {arch}: {key} is '
            f'{have}, the architecture has {need} (keys `backbone.arch` and '
            '`backbone.pretrained`).'
        )
