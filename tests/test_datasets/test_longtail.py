"""The published CIFAR-LT counts and draws, and the held-out share."""

import hashlib

import numpy as np
import pytest
from parity_data import load, meta

from lift_mm.datasets import (
    holdout_mask,
    long_tail_counts,
    long_tail_indices,
)


def shuffled_labels():
    labels = np.arange(50000) % 100
    np.random.RandomState(1).shuffle(labels)
    return labels


LABELS = {
    'shuffled_seed1': shuffled_labels(),
    'sorted': np.repeat(np.arange(100), 500),
}


@pytest.mark.parametrize('ratio', [10, 50, 100])
def test_counts(ratio):
    want = load('cifar_lt')[f'counts/ir{ratio}'].tolist()
    counts = long_tail_counts(500, 100, ratio)
    assert counts == want
    assert all(type(count) is int for count in counts)
    assert sum(counts) == meta('cifar_lt')['counts'][f'ir{ratio}']['total']


@pytest.mark.parametrize('ratio', [10, 50, 100])
@pytest.mark.parametrize('recipe', list(LABELS))
def test_draw(recipe, ratio):
    before = np.random.get_state()[1].copy()
    kept = long_tail_indices(
        LABELS[recipe],
        long_tail_counts(500, 100, ratio),
        np.random.RandomState(0),
    )
    golden = load('cifar_lt')
    name = f'{recipe}/ir{ratio}'
    assert kept[:200].tolist() == golden[f'{name}/first200'].tolist()
    assert kept[-50:].tolist() == golden[f'{name}/last50'].tolist()
    want = meta('cifar_lt')['hashes'][name]
    assert len(kept) == want['n']
    digest = hashlib.sha256(kept.astype('<i8').tobytes()).hexdigest()
    assert digest == want['sha256_of_int64_le']
    # The global generator stays as it was.
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    'ratio, md5',
    [
        (100, 'b14391509947e7abfd7d02d0fbb07df2'),
        (50, '54565448bde1d2cd3463f8107fe36582'),
        (10, 'f863f90d24183e35aa0539768be6a102'),
    ],
)
def test_draw_of_the_written_specification(ratio, md5):
    labels = (37 * np.arange(50000) + 11) % 100  # SPEC T11
    kept = long_tail_indices(
        labels,
        long_tail_counts(500, 100, ratio),
        np.random.RandomState(0),
    )
    assert kept[:3].tolist() == [9097, 25497, 28397]
    assert hashlib.md5(kept.astype('<i8').tobytes()).hexdigest() == md5


def test_counts_at_the_edges():
    assert long_tail_counts(7, 1, 100) == [7]
    assert long_tail_counts(8, 3, 1) == [8, 8, 8]
    assert long_tail_counts(10, 3, 1000) == [10, 1, 1]
    with pytest.raises(ValueError, match='ratio is 0.5'):
        long_tail_counts(10, 3, 0.5)


def test_a_class_gives_what_it_has():
    kept = long_tail_indices([0, 0, 1], [2, 2], np.random.RandomState(0))
    assert sorted(kept[:2]) == [0, 1] and kept[2:].tolist() == [2]


def test_holdout():
    labels = [0] * 10 + [1] * 2 + [2]
    held_out = holdout_mask(labels, 0.2)
    assert [held_out[:10].sum(), held_out[10:12].sum()] == [2, 1]
    assert not held_out[12]
    assert np.array_equal(held_out, holdout_mask(labels, 0.2))
    assert holdout_mask(labels, 0.99)[:10].sum() == 9
    for fraction in (0, 1, 20):
        with pytest.raises(ValueError, match='val_fraction'):
            holdout_mask(labels, fraction)
