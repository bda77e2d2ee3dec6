"""LADE against its formula, class by class."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_models.test_losses.cases import COUNTS, batch

from lift_mm.models.losses import LADELoss


def by_hand(logits, labels, counts, weight, remine_lambda):
    """Follow the formula with loops, in float64."""
    logits = logits.double()
    size, prior = len(labels), [n / sum(counts) for n in counts]
    estimate = 0
    for c, share in enumerate(prior):
        own = [logits[i, c] for i in range(size) if labels[i] == c]
        first = sum(own) / len(own) if own else 0
        ratio = (1 / 7 + 1e-9) / (share + 1e-9)
        terms = [math.exp(z) * ratio for z in logits[:, c]]
        second = math.log(sum(terms) / size)
        estimate -= share * (first - second - remine_lambda * second**2)
    adjusted = logits + torch.tensor(prior).double().log()
    return F.cross_entropy(adjusted, labels) + weight * estimate


@pytest.mark.parametrize('size', [1, 2, 9, 40])
@pytest.mark.parametrize('weight, remine_lambda', [(0.1, 0.1), (2.0, 0.3)])
@pytest.mark.parametrize('counts', [COUNTS, [10**9, 50, 9, 5, 3, 2, 1]])
def test_formula(size, counts, weight, remine_lambda):
    logits, labels = batch(size)
    assert len(labels.unique()) < 7  # some classes have no image
    loss = LADELoss(weight, remine_lambda, counts)(logits, labels)
    expected = by_hand(logits, labels, counts, weight, remine_lambda)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_the_estimate_it_is_balanced_softmax():
    logits, labels = batch()
    got = LADELoss(0, class_counts=COUNTS)(logits, labels)
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    expected = F.cross_entropy(logits + prior.log(), labels)
    torch.testing.assert_close(got, expected)
