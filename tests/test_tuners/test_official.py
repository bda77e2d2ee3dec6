"""Keys of published checkpoints that need more than a new name."""

import pytest
import torch
from test_tuners.tiny_backbones import plain

from lift_mm.tuners.official import convert, rename_for

AFT = 'image_encoder.blocks.2.mlp.aft.in_proj.masked_weight'


@pytest.mark.parametrize(
    'key',
    [
        'strange_list.0.x',
        'adaptformer_list.0',
        'adapter_list.0.foo.weight',
        'lora_list.0.q.lora_C',
        'lora_list.0.q',
        'vpt_list.0.length',
        'ssf_attn_list.0.foo.scale',
        'masked_linear_list.0.attn_in.mask',
        'block_tuned.0.foo',
        'bias_tuned.x',
        'image_encoder.blocks.0.attn.lora.q.foo',
        'image_encoder.blocks.0.attn.ssf.in_proj',
        'image_encoder.blocks.0.mlp.ssf.foo.scale',
        'text_encoder.blocks.0.prompt',
        'clip_adapter.up.weight',
    ],
)
def test_what_has_no_place_is_named(key):
    assert convert({'tuner': {key: torch.zeros(3)}}) == ({}, [key])


@pytest.mark.parametrize('name', ['head', 'model.classifier'])
def test_linear_head(name):
    state = {f'{name}.weight': torch.ones(3, 2), f'{name}.bias': torch.ones(3)}
    converted, unplaced = convert({'tuner': {}, 'other': state})
    assert not unplaced
    assert converted.keys() == {'head.fc.weight', 'head.fc.bias'}
    nested = {k.rpartition('.')[2]: v for k, v in state.items()}
    assert convert({'tuner': {}, 'head': nested})[0].keys() == converted.keys()


def test_masks_become_positions():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    state = {
        f'{AFT}.optimized_params': torch.arange(3.0),
        f'{AFT}.mask': mask,
        'head.mask': mask,
    }
    converted, unplaced = convert({'tuner': state})
    assert unplaced == ['head.mask']
    root = 'backbone.layers.2.masked.fc1.weight'
    assert converted.keys() == {root, f'{root}_index'}
    index = converted[f'{root}_index']
    assert index.dtype == torch.int32 and index.tolist() == [0, 2, 5]


def test_names_of_another_net():
    state = {
        'adaptformer_list.1.scale': torch.ones(1),
        'bias_tuned.9': torch.ones(48),  # block 1, first layer of the MLP
        'head.weight': torch.ones(3, 32),
    }
    converted, _ = convert({'tuner': state})
    for name, keys in {
        'VisionTransformer': (
            'layers.1.adaptformer.scale',
            'layers.1.ffn.layers.0.0.bias',
        ),
        'TIMMBackbone': (
            'timm_model.blocks.1.adaptformer.scale',
            'timm_model.blocks.1.mlp.fc1.bias',
        ),
    }.items():
        found = rename_for(plain(name), converted)
        expected = [*(f'backbone.{key}' for key in keys), 'head.fc.weight']
        assert list(found) == expected
    head = {'head.fc.weight': torch.ones(3, 32)}
    assert rename_for(torch.nn.Linear(2, 2), head) is head
