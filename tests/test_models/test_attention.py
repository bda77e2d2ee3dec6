"""Attention of our towers runs on a fused kernel, which keeps no matrix."""

import pytest
import torch
from test_tuners.tiny_backbones import images, tuned
from test_tuners.tiny_models import ARCH
from torch.utils._python_dispatch import TorchDispatchMode

from lift_mm.registry import MODELS

FUSED = 'aten::_scaled_dot_product_flash_attention_for_cpu'


class Calls(TorchDispatchMode):
    """Remember the names of the operators called, and shapes of the first
    input of each."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        shape = getattr(args[0], 'shape', None) if args else None
        self.seen.append((function._schema.name, shape))
        return function(*args, **(kwargs or {}))

    def shapes(self, name):
        return [shape for seen, shape in self.seen if seen == name]


@pytest.mark.parametrize(
    'tuner', [dict(type='AdaptFormer'), dict(type='LoRA', rank=2)]
)
@pytest.mark.parametrize(
    'name', ['CLIPViT', 'VisionTransformer', 'TIMMBackbone']
)
def test_image_towers(name, tuner):
    net = tuned(name, tuner)
    net.train()
    with Calls() as calls:
        net(images())
    # (batch, heads, tokens, width of a head), once a block.
    assert calls.shapes(FUSED) == [(2, 2, 17, 16)] * 3
    assert not calls.shapes('aten::_softmax')


def test_text_tower():
    text = dict(type='lift_mm.CLIPText', arch=ARCH)
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=text,
            tuners=[dict(type='LoRA', rank=2)],
        )
    )
    with Calls() as calls:
        net(torch.tensor([[1, 5, 9, 0]]))
    assert calls.shapes(FUSED) == [(1, 1, 4, 8)]
    assert not calls.shapes('aten::_softmax')
