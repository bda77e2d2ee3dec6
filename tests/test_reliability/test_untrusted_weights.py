"""Odd model configs and sizes: named before memory is asked for."""

import json

import open_clip
import pytest
from parity_models import ARCH

from lift_mm.clip.arch import model_config
from lift_mm.clip.templates import read_descriptors
from lift_mm.datasets.taxonomy import read_categories
from lift_mm.registry import MODELS

ODD = {
    'embed_dim': ['64', 0, -1, 10**12, None, 1.5, True],
    'vision_cfg': ['x', [1], None, 3],
    'text_cfg': [3, 'x'],
    'vision_cfg.layers': [-1, 0, True, 10**9, [], [0, 1, 1, 1], 'a', None],
    'vision_cfg.width': [0, 10**9, None, '128'],
    'vision_cfg.patch_size': [0, -8, 33, 10**9, 'a'],
    'vision_cfg.image_size': [0, 10**9, 'a', [32, -1], [], None],
    'vision_cfg.mlp_ratio': [float('nan'), float('inf'), -1, 0, '4'],
    'vision_cfg.head_width': [0, 10**9, None],
    'text_cfg.layers': [-1, 10**7],
    'text_cfg.heads': [0, -2, 'a'],
    'text_cfg.width': [0, 10**12],
    'text_cfg.context_length': [0, -1, 10**12, 'a'],
    'text_cfg.vocab_size': [-1, 10**12],
}


def changed(field, value):
    config = json.loads(json.dumps(ARCH))
    *tower, key = field.split('.')
    part = config[tower[0]] if tower else config
    part[key] = value
    return config


@pytest.mark.parametrize(
    'field, value', [(key, one) for key, odd in ODD.items() for one in odd]
)
def test_odd_model_configs(field, value, tmp_path):
    """By value or as a JSON file."""
    path = tmp_path / 'arch.json'
    path.write_text(json.dumps(changed(field, value)))
    key = field.rpartition('.')[2]
    for arch in (changed(field, value), str(path)):
        match = rf'{key}=.*\(key `backbone.arch`\)'
        with pytest.raises(ValueError, match=match) as seen:
            MODELS.build(dict(type='lift_mm.CLIPViT', arch=arch))
        assert '\n' not in str(seen.value)


@pytest.mark.parametrize('text', ['[]', '3', '"ViT"', 'null', '{}', '{', ''])
def test_files_that_are_no_model_config(tmp_path, text):
    path = tmp_path / 'arch.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='`backbone.arch`|backbone.arch'):
        model_config(str(path))


@pytest.mark.parametrize(
    'read', [model_config, read_descriptors, read_categories]
)
def test_nested_json(tmp_path, read):
    path = tmp_path / 'deep.json'
    path.write_text('[' * 100_000)
    with pytest.raises(ValueError, match='deep.json.* not JSON'):
        read(str(path))


def test_models_of_open_clip_are_possible():
    for name in open_clip.list_models():
        model_config(open_clip.get_model_config(name))


@pytest.mark.parametrize(
    'number', [0, -1, 1.5, '3', True, None, 10**13, 10**30]
)
@pytest.mark.parametrize('key', ['num_classes', 'in_channels'])
def test_absurd_heads(key, number):
    sizes = dict(num_classes=3, in_channels=8) | {key: number}
    match = rf'{key}={number!r} .*`model.head.{key}`'.replace('+', r'\+')
    with pytest.raises(ValueError, match=match):
        MODELS.build(dict(type='lift_mm.CosineHead', **sizes))
