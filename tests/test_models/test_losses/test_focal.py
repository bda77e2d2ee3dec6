"""Focal loss against its formula."""

import pytest
import torch.nn.functional as F
from test_models.test_losses.cases import batch

from lift_mm.models.losses import SoftmaxFocalLoss


@pytest.mark.parametrize('gamma', [0, 0.5, 1, 2, 5.0])
def test_formula(gamma):
    logits, labels = batch()
    share = logits.double().softmax(1)[range(9), labels]
    expected = (-((1 - share) ** gamma) * share.log()).mean()
    got = SoftmaxFocalLoss(gamma)(logits, labels)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_gamma_zero_is_cross_entropy():
    logits, labels = batch()
    losses = SoftmaxFocalLoss(0, 'none')(logits, labels)
    assert losses.equal(F.cross_entropy(logits, labels, reduction='none'))
