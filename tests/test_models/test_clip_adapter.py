"""CLIP-Adapter and the projection that learns."""

import pytest
import torch
from test_tuners.tiny_models import ARCH, clip_file

from lift_mm.models import CLIPAdapter, CLIPProjection
from lift_mm.tuners import disabled, frozen_keys, learned_parameters


def learn(module):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in learned_parameters(module).values():
            parameter.add_(torch.randn_like(parameter))


def test_adapter():
    torch.manual_seed(0)
    adapter = CLIPAdapter(512)
    x = torch.randn(3, 512)
    assert torch.equal(adapter((None, x))[0], x)
    names = {name: tuple(p.shape) for name, p in adapter.named_parameters()}
    assert names == {
        'norm.weight': (512,),
        'norm.bias': (512,),
        'down.weight': (4, 512),
        'down.bias': (4,),
        'up.weight': (512, 4),
        'up.bias': (512,),
    }
    bound = float(adapter.down.weight.detach().abs().max())
    assert 0.95 * 512**-0.5 < bound <= 512**-0.5
    learn(adapter)
    u = torch.nn.functional.layer_norm(x, (512,))
    u = u * adapter.norm.weight + adapter.norm.bias
    u = torch.relu(u @ adapter.down.weight.T + adapter.down.bias)
    expected = x + u @ adapter.up.weight.T + adapter.up.bias
    torch.testing.assert_close(adapter((x,))[0], expected)
    with disabled(adapter):
        assert torch.equal(adapter((x,))[0], x)


@pytest.mark.parametrize('key', ['in_channels', 'hidden_dims'])
@pytest.mark.parametrize('value', [0, None, 2.5])
def test_wrong_sizes(key, value):
    settings = dict(in_channels=8) | {key: value}
    with pytest.raises(ValueError, match=f'{key}={value!r} of CLIPAdapter'):
        CLIPAdapter(**settings)


@pytest.mark.parametrize('tuned', [False, True])
@pytest.mark.parametrize('adapter', [None, dict(type='CLIPAdapter')])
def test_projection(tmp_path, tuned, adapter):
    path = clip_file(tmp_path)
    neck = CLIPProjection(ARCH, path, tuned, adapter)
    plain = CLIPProjection(ARCH, path)
    x = torch.randn(3, 32)
    expected = plain((x,))[0]
    assert torch.equal(neck((x,))[0], expected)
    assert not learned_parameters(plain)
    learned = learned_parameters(neck)
    assert ('weight' in learned) is tuned
    adapted = {name for name in learned if name != 'weight'}
    assert len(adapted) == (6 if adapter else 0)
    assert all(name.startswith('adapter.') for name in adapted)
    assert frozen_keys(neck) == ({'weight'} - learned.keys())
    assert neck.frozen_base.tuners == (
        [dict(type='CLIPProjection')] if tuned else []
    )
    learn(neck)
    moved = not torch.equal(neck((x,))[0], expected)
    assert moved is (tuned or adapter is not None)
    if moved:
        neck((x,))[0].pow(2).sum().backward()
    for name, parameter in neck.named_parameters():
        assert (parameter.grad is not None) is (name in learned), name
    with disabled(neck):
        assert torch.equal(neck((x,))[0], expected)
