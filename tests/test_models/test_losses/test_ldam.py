"""Margins of LDAM."""

import pytest
import torch
import torch.nn.functional as F

from lift_mm.models import CosineHead
from lift_mm.models.losses import LDAMLoss


def test_margins():
    loss = LDAMLoss(0.4, 1, [16, 1, 256])
    expected = torch.tensor([0.2, 0.4, 0.1])
    torch.testing.assert_close(loss.margins, expected)


def test_only_the_own_logit_loses_its_margin():
    logits = torch.tensor([[1.0, 2, 3], [0, -1, 5]])
    labels = torch.tensor([1, 0])
    moved = torch.tensor([[1.0, 2 - 8, 3], [0 - 4, -1, 5]])
    got = LDAMLoss(0.4, 20, [16, 1, 256])(logits, labels)
    torch.testing.assert_close(got, F.cross_entropy(moved, labels))


def test_no_margin_is_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    got = LDAMLoss(0, 25, [16, 1, 256], 'none')(logits, labels)
    assert got.equal(F.cross_entropy(logits, labels, reduction='none'))


def test_scale_of_the_head():
    loss = LDAMLoss(class_counts=[5, 1])
    with pytest.raises(ValueError, match='scale=None.*model.head.loss.scale'):
        loss(torch.zeros(1, 2), torch.tensor([0]))
    config = dict(type='lift_mm.LDAMLoss', class_counts=[5, 1])
    assert CosineHead(2, 4, scale=30, loss=config).loss_module.scale == 30
    config['scale'] = 7
    assert CosineHead(2, 4, scale=30, loss=config).loss_module.scale == 7
