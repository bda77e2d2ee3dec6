"""Where the counts come from, and which are refused."""

import numpy as np
import pytest
import torch
from test_models.test_losses.cases import COUNTING, COUNTS, batch, build

PRIOR = ['balanced_softmax', 'lade', 'logit_adjusted', 'reweighted']


@pytest.mark.parametrize('name', PRIOR)
def test_prior_instead_of_counts(name):
    logits, labels = batch()
    shares = np.array(COUNTS) / 7000  # it need not sum to 1
    got = build(name, None, prior=shares)(logits, labels)
    expected = build(name)(logits, labels)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    # A background class of which the loss shall see less.
    tamed = build(name, None, prior=[100, *COUNTS[1:]])
    tamed.set_class_info(list('abcdefg'), COUNTS)
    assert abs(tamed(logits, labels) / expected - 1) > 1e-3


@pytest.mark.parametrize('name', PRIOR)
def test_bad_prior(name):
    with pytest.raises(ValueError, match='both class_counts and prior'):
        build(name, prior=COUNTS)
    with pytest.raises(ValueError, match='has 0 for label 1.*loss.prior`'):
        build(name, None, prior=[0.5, 0, 0.5])


@pytest.mark.parametrize('name', COUNTING)
@pytest.mark.parametrize(
    'counts, seen',
    [
        ([3, 0], 'has 0 for label 1'),
        ([3, 2, -1], 'has -1 for label 2'),
        ([float('nan'), 2], 'has nan for label 0'),
        ([float('inf'), 2], 'has inf for label 0'),
        ([], r'is \[\]'),
        ([[3, 2]], r'is \[\[3, 2\]\]'),
        (['3', '2'], r"is \['3', '2'\]"),
        (7, 'is 7'),
    ],
)
def test_bad_counts(name, counts, seen):
    text = f'one positive number a class and {seen}.*loss.class_counts`'
    with pytest.raises(ValueError, match=text):
        build(name, counts)


@pytest.mark.parametrize('name', COUNTING)
@pytest.mark.parametrize('kind', [tuple, np.array, torch.tensor])
def test_kinds_of_lists(name, kind):
    logits, labels = batch()
    got = build(name, kind(COUNTS))(logits, labels)
    assert got == build(name)(logits, labels)


@pytest.mark.parametrize(
    'name', ['balanced_softmax', 'class_balanced', 'reweighted']
)
def test_equal_counts_give_cross_entropy(name):
    logits, labels = batch()
    got = build(name, [40] * 7)(logits, labels)
    plain = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(got, plain)
