"""Weights of classes, and PyTorch's weighted mean."""

import pytest
import torch
import torch.nn.functional as F
from test_models.test_losses.cases import WEIGHTED, batch, build, one_hot

from lift_mm.models.losses import ClassBalancedLoss, GeneralizedReweightLoss


@pytest.mark.parametrize('name', WEIGHTED)
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_labels_as_in_pytorch(name, reduction):
    logits, labels = batch()
    loss = build(name, reduction=reduction)
    expected = F.cross_entropy(
        logits, labels, weight=loss.class_weight, reduction=reduction
    )
    torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize('name', WEIGHTED)
def test_probabilities_divide_by_their_own_weights(name):
    logits, labels = batch()
    target = 0.3 * one_hot(labels) + 0.7 * one_hot(labels.flip(0))
    loss = build(name)
    weight = loss.class_weight
    total = F.cross_entropy(logits, target, weight=weight, reduction='sum')
    got = loss(logits, target, reduction_override='sum')
    torch.testing.assert_close(got, total)
    size = (target * weight).sum()
    torch.testing.assert_close(loss(logits, target), total / size)
    # PyTorch divides by the number of samples here.
    assert abs(size - len(labels)) > 0.1


def test_a_small_count_keeps_its_digits():
    beta, counts = 1 - 1e-13, [1, 2, 4]
    got = ClassBalancedLoss(beta, counts).class_weight
    # Effective numbers are the counts here.
    expected = torch.tensor([1, 1 / 2, 1 / 4]) * 3 / 1.75
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_limits_of_the_settings():
    counts = [10**6, 1000, 1]
    ones = torch.ones(3)
    got = ClassBalancedLoss(0, counts).class_weight
    torch.testing.assert_close(got, ones)
    got = GeneralizedReweightLoss(0, counts).class_weight
    torch.testing.assert_close(got, ones)
    counts[2] = 10  # all powers are 0 in float64
    got = GeneralizedReweightLoss(400, counts).class_weight
    torch.testing.assert_close(got, torch.tensor([0.0, 0, 3]))
    # A batch of classes with no weight at all still has a finite loss.
    loss = GeneralizedReweightLoss(400, counts)
    assert loss(torch.randn(2, 3), torch.tensor([0, 0])) == 0
