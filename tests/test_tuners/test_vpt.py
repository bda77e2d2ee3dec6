"""Where prompts start, and which outputs of a net they would spoil."""

import math

import pytest
from mmpretrain.registry import MODELS
from test_tuners.tiny_backbones import CONFIGS, images, tuned

VPT = dict(type='VPT', length=3)


@pytest.mark.parametrize('name', ['VisionTransformer', 'TIMMBackbone'])
def test_lift_draw_goes_by_the_patch(name):
    net = tuned(name, dict(type='VPT', length=500))
    bound = math.sqrt(6 / (3 * 4 * 4 + 32))
    found = [p for key, p in net.named_parameters() if key.endswith('tokens')]
    assert len(found) == 3
    for tokens in found:
        assert tokens.shape == (500, 32)
        assert 0.99 * bound < tokens.abs().max() <= bound


def build(**settings):
    backbone = {**CONFIGS['VisionTransformer'], **settings}
    return MODELS.build(
        dict(type='lift_mm.TunedBackbone', backbone=backbone, tuners=[VPT])
    )


@pytest.mark.parametrize('kind', ['raw', 'featmap', 'avg_featmap'])
def test_tokens_of_inner_blocks(kind):
    with pytest.raises(ValueError, match='behind block 1; .*out_indices'):
        build(out_type=kind, out_indices=[1, 2])
    shapes = dict(raw=(17, 32), featmap=(32, 4, 4), avg_featmap=(32,))
    (out,) = build(out_type=kind)(images())
    assert out.shape[1:] == shapes[kind]
    inner, last = build(out_indices=[1, 2])(images())
    assert inner.shape == last.shape == (2, 32)


def test_listed_twice():
    shallow, deep = dict(VPT, deep=False), dict(VPT, layers=[1, 2])
    with pytest.raises(ValueError, match='VPT is listed twice'):
        tuned('VisionTransformer', shallow, deep)
