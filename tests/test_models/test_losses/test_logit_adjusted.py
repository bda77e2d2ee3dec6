"""The logit-adjusted loss and the counts that it takes."""

import pytest
import torch

from lift_mm.models.losses import LogitAdjustedLoss


def test_formula_with_weights_and_soft_targets():
    torch.manual_seed(0)
    logits, counts = torch.randn(5, 3), [9, 4, 2]
    target = torch.rand(5, 3).softmax(1)
    weight = torch.rand(5)
    prior = torch.tensor(counts) / 15
    log_p = (logits + 0.5 * prior.log()).log_softmax(1)
    expected = (-(target * log_p).sum(1) * weight).sum() / 4
    loss = LogitAdjustedLoss(0.5, counts, loss_weight=2.0)
    got = loss(logits, target, weight=weight, avg_factor=4)
    assert got == pytest.approx(2 * expected.item(), rel=1e-6)
    none = loss(logits, target, reduction_override='none')
    assert none.shape == (5,)


def test_counts_come_from_the_dataset_unless_given():
    loss = LogitAdjustedLoss()
    with pytest.raises(ValueError, match='needs 2 class counts and has none'):
        loss(torch.zeros(1, 2), torch.tensor([0]))
    loss.set_class_info(['a', 'b'], [3, 1])
    assert loss.log_prior.exp().tolist() == pytest.approx([0.75, 0.25])
    assert 'log_prior' not in loss.state_dict()
    with pytest.raises(ValueError, match='5 logits .* 2 classes.*num_classes'):
        loss(torch.zeros(1, 5), torch.tensor([0]))
    given = LogitAdjustedLoss(class_counts=[1, 1])
    given.set_class_info(['a', 'b'], [3, 1])
    assert given.log_prior.exp().tolist() == pytest.approx([0.5, 0.5])


def test_class_without_images():
    with pytest.raises(ValueError, match="first 'owl'.*prior is zero"):
        LogitAdjustedLoss().set_class_info(['fox', 'owl'], [3, 0])
    with pytest.raises(ValueError, match='one positive number a class'):
        LogitAdjustedLoss(class_counts=[3, 0])
    with pytest.raises(ValueError, match="reduction='max'"):
        LogitAdjustedLoss(reduction='max')
