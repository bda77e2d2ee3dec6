"""Long tails, held-out images, samplers, and what a resumed epoch skips."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from lift_mm.datasets import samplers
from lift_mm.datasets.longtail import (
    SHAPES,
    holdout_mask,
    imbalanced_counts,
    long_tail_indices,
)
from lift_mm.datasets.sampling import count_visits
from lift_mm.engine.resumable_loop import skip_batches

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=40)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 5000),
    st.integers(1, 200),
    st.floats(1, 1000) | st.integers(1, 1000),
)
def test_a_long_tail_falls_and_stays_in_bounds(shape, n_max, classes, ratio):
    counts = imbalanced_counts(shape, n_max, classes, ratio)
    assert len(counts) == classes
    assert counts == sorted(counts, reverse=True)
    assert all(type(count) is int for count in counts)
    assert counts[0] == n_max
    assert counts[-1] >= 1
    if classes > 1:  # rounded down, and 1e-9 for the power's last bit
        small = n_max / ratio
        assert counts[-1] in (
            max(1, math.floor(small - 1e-9)),
            max(1, math.floor(small)),
        )


@given(st.floats() | st.integers(max_value=0) | st.none() | st.text())
def test_impossible_ratios_are_refused(ratio):
    number = isinstance(ratio, (int, float))
    if number and 1 <= ratio < math.inf:
        return
    for shape in SHAPES:
        with pytest.raises((TypeError, ValueError), match='imbalance_ratio'):
            imbalanced_counts(shape, 10, 3, ratio)


@given(LABELS, st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_a_subset_has_the_counts_and_is_nested(labels, counts):
    def draw(wanted):
        return long_tail_indices(labels, wanted, np.random.RandomState(0))

    kept, more = draw(counts), draw([count + 1 for count in counts])
    have = np.bincount(labels, minlength=6)
    found = np.bincount(np.array(labels)[kept], minlength=6)
    assert found.tolist() == np.minimum(have, counts).tolist()
    assert len(set(kept.tolist())) == len(kept)
    assert set(kept.tolist()) <= set(more.tolist())


@given(LABELS, st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_held_out_images_leave_every_class_some(labels, fraction):
    held_out = holdout_mask(labels, fraction)
    for label in set(labels):
        mine = held_out[np.array(labels) == label]
        assert not mine.all()
        assert mine.any() or len(mine) == 1
    balanced = holdout_mask(labels, fraction, balanced=True)
    given = np.bincount(np.array(labels)[balanced], minlength=6)
    assert len({given[label] for label in set(labels)}) == 1


class Labelled:
    """As much of a dataset as samplers look at."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_gt_labels(self):
        return np.array(self.labels)


@st.composite
def sampled(draw):
    """Draw labels and a sampler for them, in some epoch."""
    labels = draw(LABELS)
    kind = draw(
        st.sampled_from(
            [
                'ClassAwareSampler',
                'SquareRootSampler',
                'ProgressivelyBalancedSampler',
                'ClassDownSampler',
            ]
        )
    )
    settings = dict(seed=draw(st.integers(0, 2**31)))
    if kind == 'ClassDownSampler':
        settings['max_per_class'] = draw(st.integers(1, 9))
        settings['rule'] = draw(st.sampled_from(['lift', 'lift+']))
    else:
        settings['num_samples'] = draw(st.none() | st.integers(1, 60))
    if kind == 'ClassAwareSampler':
        settings['samples_per_visit'] = draw(st.integers(1, 5))
    if kind == 'ProgressivelyBalancedSampler':
        settings['max_epochs'] = draw(st.integers(1, 5))
    sampler = getattr(samplers, kind)(Labelled(labels), **settings)
    sampler.set_epoch(draw(st.integers(0, 6)))
    return labels, sampler


@given(sampled())
def test_every_sampler_gives_images_and_repeats_itself(drawn):
    labels, sampler = drawn
    order = list(sampler)
    assert len(order) == len(sampler)
    assert all(0 <= index < len(labels) for index in order)
    again = list(sampler)
    visits = [getattr(index, 'visit', 0) for index in order]
    assert again == order
    assert visits == [getattr(index, 'visit', 0) for index in again]
    assert visits == [order[:n].count(i) for n, i in enumerate(order)]


@given(LABELS, st.integers(1, 60), st.integers(1, 4), st.integers(0, 99))
def test_class_aware_sampling_is_balanced(labels, size, visit, seed):
    sampler = samplers.ClassAwareSampler(
        Labelled(labels), visit, num_samples=size, seed=seed
    )
    order = np.array([int(index) for index in sampler])
    shown = np.bincount(np.array(labels)[order], minlength=6)
    shown = shown[np.unique(labels)]
    assert shown.max() - shown.min() <= visit
    # No image twice before all others of its class.
    times = np.bincount(order, minlength=len(labels))
    for label in set(labels):
        mine = times[np.array(labels) == label]
        assert mine.max() - mine.min() <= 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_visits_are_counted(order):
    expected = [order[:place].count(i) for place, i in enumerate(order)]
    assert count_visits(np.array(order)).tolist() == expected


@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_skipped_batches_are_the_first_ones(
    images, batch_size, shuffle, drop_last, data
):
    loader = DataLoader(
        torch.arange(images),
        batch_size=batch_size,
        sampler=DefaultSampler(range(images), shuffle=shuffle, seed=5),
        drop_last=drop_last,
    )
    whole = [batch.tolist() for batch in loader]
    done = data.draw(st.integers(0, len(whole)))
    with skip_batches(loader, done):
        assert [batch.tolist() for batch in loader] == whole[done:]
        assert len(loader) == len(whole) - done
    assert [batch.tolist() for batch in loader] == whole
