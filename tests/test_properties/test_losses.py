"""What holds for the losses whatever logits, labels and counts are."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models.test_losses.cases import COUNTING, LOSSES, build

from lift_mm.models.losses import BalancedSoftmaxLoss, LogitAdjustedLoss

CLASSES = 5
COUNTS = st.lists(st.integers(1, 10**7), min_size=CLASSES, max_size=CLASSES)
BATCH = st.integers(1, 6)
SEED = st.integers(0, 999)
SCALE = st.sampled_from([1e-3, 1.0, 30.0])


def batch(size, seed, scale=1.0):
    """Give logits (B, 5) that learn, and labels (B,)."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(size, CLASSES, generator=generator)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    return logits.requires_grad_(), labels


@given(BATCH, SEED, SCALE, st.integers(1, 10**7), st.floats(-3, 3))
def test_a_uniform_prior_changes_nothing(size, seed, scale, count, tau):
    logits, labels = batch(size, seed, scale)
    loss = LogitAdjustedLoss(tau=tau, class_counts=[count] * CLASSES)
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(
        loss(logits, labels), expected, rtol=1e-4, atol=1e-5
    )


@given(BATCH, SEED, SCALE, COUNTS)
def test_without_tau_it_is_cross_entropy(size, seed, scale, counts):
    logits, labels = batch(size, seed, scale)
    loss = LogitAdjustedLoss(tau=0.0, class_counts=counts)
    found = loss(logits, labels, reduction_override='none')
    expected = F.cross_entropy(logits, labels, reduction='none')
    assert torch.equal(found, expected)


@given(BATCH, SEED, SCALE, COUNTS)
def test_balanced_softmax_weighs_by_counts(size, seed, scale, counts):
    logits, labels = batch(size, seed, scale)
    found = BalancedSoftmaxLoss(class_counts=counts)(logits, labels)
    weights = torch.tensor(counts, dtype=torch.float64)
    powers = weights * (logits.double() - logits.double().max()).exp()
    shares = powers / powers.sum(1, keepdim=True)
    expected = -shares.log()[range(size), labels].mean()
    if expected.isfinite():
        torch.testing.assert_close(
            found.double(), expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('name', LOSSES)
@settings(max_examples=10)
@given(BATCH, SEED, COUNTS, st.permutations(range(CLASSES)))
def test_names_of_classes_do_not_matter(name, size, seed, counts, order):
    logits, labels = batch(size, seed)
    moved = torch.tensor(order).argsort()[labels]
    found = loss_of(name, [counts[old] for old in order])(
        logits[:, order], moved
    )
    torch.testing.assert_close(found, loss_of(name, counts)(logits, labels))


@pytest.mark.parametrize('name', LOSSES)
@settings(max_examples=15)
@given(
    BATCH,
    SEED,
    COUNTS,
    st.sampled_from([0.0, 1e2, 1e4, 6e4]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_extreme_logits_give_finite_numbers(
    name, size, seed, counts, scale, dtype
):
    logits, labels = batch(size, seed)
    logits = (logits.sign() * scale).to(dtype).detach().requires_grad_()
    loss = loss_of(name, counts)(logits, labels)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def loss_of(name, counts):
    return build(name, counts) if name in COUNTING else build(name)
