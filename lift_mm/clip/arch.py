"""Architectures of CLIP: open_clip's model configs, checked for use here."""

import copy
import difflib
import importlib.util
import json
import os
from collections.abc import Mapping

from .arch_sizes import check_sizes

# Fields of open_clip's `vision_cfg` whose values `CLIPViT` can build. What is
# not listed must be absent, None, False or zero.
_GEOMETRY = {
    'image_size',
    'layers',
    'width',
    'head_width',
    'mlp_ratio',
    'patch_size',
    'output_tokens',
    'ls_init_value',
}
_CHOICES = {
    'no_ln_pre': (False, True),
    'pool_type': ('tok', 'avg'),
    'final_ln_after_pool': (False, True),
    'pos_embed_type': ('learnable',),
    'block_type': (None, 'default'),
}
_DEFAULTS = dict(
    image_size=224,
    layers=12,
    width=768,
    head_width=64,
    mlp_ratio=4.0,
    patch_size=16,
    ls_init_value=None,
    no_ln_pre=False,
    pool_type='tok',
    final_ln_after_pool=False,
)
_RESNET_DEFAULTS = dict(image_size=224, width=64, head_width=64)


def model_config(arch: str | dict) -> dict:
    """Give open_clip's model config of an architecture.

    Args:
        arch: A model name of open_clip (``'ViT-B-16'``), a model config
            with ``embed_dim``, ``vision_cfg`` and, where the text tower is
            wanted, ``text_cfg``, or the path of a JSON file that holds one.

    Raises:
        ValueError: open_clip has no such model, or the config lacks a field
            or has an impossible one.
    """
    if isinstance(arch, str) and arch.endswith('.json'):
        if not os.path.isfile(arch):
            raise ValueError(
                f'There is no model config file {arch!r} (key '
                '`backbone.arch`).'
            )
        try:
            with open(arch, encoding='utf-8') as file:
                arch = json.load(file)
        except (ValueError, RecursionError) as error:  # of UTF-8, too
            raise ValueError(
                f'The model config file {arch!r} is not JSON ({error}; key '
                '`backbone.arch`).'
            ) from error
    if isinstance(arch, str):
        config = _packaged_config(arch)
        if config is not None:
            return config
        import open_clip

        config = open_clip.get_model_config(arch)
        if config is None:
            close = difflib.get_close_matches(arch, open_clip.list_models())
            raise ValueError(
                f'open_clip has no model {arch!r} (key `backbone.arch`); '
                f'near names: {", ".join(close) or "none"}, all of them: '
                '`open_clip.list_models()`.'
            )
        return config
    if not isinstance(arch, Mapping):
        raise ValueError(
            f'The model config {arch!r} is no dict, but a '
            f'{type(arch).__name__} (key `backbone.arch`).'
        )
    lacking = {'embed_dim', 'vision_cfg'} - set(arch)
    if lacking:
        raise ValueError(
            'The model config in `backbone.arch` lacks '
            f'{", ".join(sorted(lacking))}; it needs embed_dim, vision_cfg '
            'and text_cfg as in the JSON files of open_clip.'
        )
    check_sizes(arch)
    # ConfigDicts of mmengine answer unknown attributes: plain dicts only.
    return {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in copy.deepcopy(arch).items()
    }


def _packaged_config(name: str) -> dict | None:
    """Read a model config where open_clip keeps it, without importing that.

    The import brings timm and takes longer than loading a ViT-B/16.
    """
    spec = importlib.util.find_spec('open_clip')
    for folder in (spec and spec.submodule_search_locations) or ():
        path = os.path.join(folder, 'model_configs', f'{name}.json')
        if os.path.isfile(path):
            with open(path, encoding='utf-8') as file:
                return json.load(file)
    return None


def open_clip_name(arch: str | dict) -> str | None:
    """Give the name under which open_clip knows weight tags, if any."""
    named = isinstance(arch, str) and not arch.endswith('.json')
    return arch if named else None


def is_resnet(config: dict) -> bool:
    """Say whether the image tower is CLIP's ResNet (layers are a list)."""
    vision = config['vision_cfg']
    layers = vision.get('layers', 12)
    return 'timm_model_name' not in vision and not isinstance(layers, int)


def is_projected(config: dict) -> bool:
    """Say whether the tower's features lie in the space of text already.

    So do those of a ResNet, whose pool projects, and those of a timm tower
    without projection (SigLIP).
    """
    vision = config['vision_cfg']
    if 'timm_model_name' in vision:
        return vision.get('timm_proj', 'linear') == 'none'
    return is_resnet(config)


def timm_config(config: dict) -> dict:
    """Give the settings of a timm image tower, with defaults filled in.

    Args:
        config: A model config as :func:`model_config` gives it.

    Raises:
        ValueError: The tower is not of timm, or pools outside of timm.
    """
    vision = {'timm_pool': 'avg', 'image_size': 224, **config['vision_cfg']}
    reason = None
    if 'timm_model_name' not in vision:
        reason = 'no timm_model_name: CLIPViT and CLIPResNet build the others'
    elif vision['timm_pool'] in ('abs_attn', 'rot_attn'):
        reason = f'timm_pool={vision["timm_pool"]!r}, a pool of open_clip'
    if reason:
        raise ValueError(
            'CLIPTimm builds image towers of timm, and this one has '
            f'{reason} (key `backbone.arch`).'
        )
    return vision


def resnet_config(config: dict) -> dict:
    """Give the settings of a ResNet image tower, with defaults filled in.

    Args:
        config: A model config as :func:`model_config` gives it.

    Raises:
        ValueError: The tower is no ResNet of CLIP, or its settings are
            impossible; the field is named.
    """
    vision = {**_RESNET_DEFAULTS, **config['vision_cfg']}
    name, layers = vision.get('timm_model_name'), vision.get('layers', 12)
    width, head = vision['width'], vision['head_width']
    reason = None
    if name is not None:
        reason = f'timm_model_name={name!r}'
    elif isinstance(layers, int):
        reason = f'layers={layers!r} (a ViT, which CLIPViT builds)'
    elif len(layers) != 4:
        reason = f'layers={layers!r} (not four numbers)'
    elif width % 2 or 32 * width % head:
        reason = f'width={width!r} (odd, or no multiple of {head} / 32)'
    else:
        known = {*_RESNET_DEFAULTS, 'layers', 'patch_size'}
        for key, value in vision.items():
            if key not in known and value:
                reason = f'{key}={value!r}'
                break
    if reason:
        raise ValueError(
            'CLIPResNet builds ResNet image towers of CLIP only, and this '
            f'one has {reason} (key `backbone.arch`).'
        )
    return vision


def vision_config(config: dict) -> dict:
    """Give the image tower's settings with every default filled in.

    Args:
        config: A model config as :func:`model_config` gives it.

    Raises:
        ValueError: The tower is not a plain ViT; the field is named.
    """
    vision = dict(config['vision_cfg'])
    reason = None
    if 'timm_model_name' in vision:
        name = vision['timm_model_name']
        reason = f'timm_model_name={name!r}, which CLIPTimm builds'
    elif is_resnet(config):
        layers = vision['layers']
        reason = f'layers={layers!r} (a ResNet), which CLIPResNet builds'
    else:
        for key, value in vision.items():
            known = key in _GEOMETRY or value in _CHOICES.get(key, ())
            pooler = key.startswith('attn_pooler')  # read with a pooler only
            if not known and value and not pooler:
                reason = f'{key}={value!r}'
                break
    vision = {**_DEFAULTS, **vision}
    if vision['pool_type'] == 'avg' and not vision['final_ln_after_pool']:
        reason = "pool_type='avg' without final_ln_after_pool"
    if reason:
        raise ValueError(
            'CLIPViT builds plain ViT image towers only, and this one has '
            f'{reason} (key `backbone.arch`).'
        )
    return vision
