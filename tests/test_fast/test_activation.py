import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from lift_mm.fast.activation import (
    LeanQuickGELU,
    activate,
    activation_name,
)


def hidden(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(5, 7, generator=generator, dtype=dtype)
    return x.requires_grad_()


def test_same_bits_as_the_formula():
    x = hidden()
    expected = x * torch.sigmoid(1.702 * x)
    assert torch.equal(LeanQuickGELU()(x), expected)
    with torch.no_grad():
        assert torch.equal(LeanQuickGELU()(x), expected)


def test_gradient():
    x = hidden(torch.float64)
    assert torch.autograd.gradcheck(LeanQuickGELU(), x)


def test_keeps_its_input_alone():
    kept = []
    x = hidden()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.data_ptr()), lambda t: t
    ):
        LeanQuickGELU()(x)
    assert kept == [x.data_ptr()]


@pytest.mark.parametrize(
    'act, name',
    [
        (MODELS.build(dict(type='mmpretrain.QuickGELU')), 'quick_gelu'),
        (LeanQuickGELU(), 'quick_gelu'),
        (nn.GELU(), 'gelu'),
        (nn.GELU(approximate='tanh'), 'gelu_tanh'),
        (nn.ReLU(), None),
    ],
)
def test_names(act, name):
    assert activation_name(act) == name
    if name is not None:
        x = hidden()
        assert torch.equal(activate(name, x), act(x))
