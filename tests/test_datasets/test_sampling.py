"""Orders of an epoch: shares, rounds, repeats, the published draws."""

import copy
import pickle
import random

import numpy as np
import parity_data
import pytest
import torch

from lift_mm.datasets.sampling import (
    Visit,
    class_aware_order,
    count_visits,
    down_order_lift,
    down_order_lift_plus,
    power_shares,
    progressive_shares,
    shared_order,
)

# LIFT's and LIFT+'s draws of at most two images a class, seed 0.
SMALL = np.repeat([0, 1, 2, 3], [6, 4, 2, 1])
SMALL_LIFT = [6, 4, 8, 11, 12, 2, 10]
SMALL_LIFT_PLUS = [10, 12, 8, 9, 11, 2, 5]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_down_order_of_the_small_example():
    lift = down_order_lift(SMALL, 2, random.Random(0))
    assert lift.tolist() == SMALL_LIFT
    plus = down_order_lift_plus(SMALL, 2, generator())
    assert plus.tolist() == SMALL_LIFT_PLUS


@pytest.mark.parametrize('limit', [1, 10, 100])
def test_down_order_of_the_published_programs(limit):
    stored = parity_data.load('cifar_lt')
    labels = stored['sampler/labels'].numpy()
    lift = down_order_lift(labels, limit, random.Random(0))
    expected = stored[f'sampler/v1/nmax{limit}_pyseed0'].tolist()
    assert lift.tolist() == expected
    plus = down_order_lift_plus(labels, limit, generator())
    expected = stored[f'sampler/plus/nmax{limit}_torchseed0'].tolist()
    assert plus.tolist() == expected


@pytest.mark.parametrize(
    'power, shares',
    [
        (0, [1 / 3, 1 / 3, 1 / 3]),
        (0.5, [4 / 7, 2 / 7, 1 / 7]),
        (1, [16 / 21, 4 / 21, 1 / 21]),
    ],
)
def test_power_shares(power, shares):
    found = power_shares(np.array([16, 4, 1]), power)
    assert found == pytest.approx(shares, abs=1e-15)


def test_progressive_shares():
    counts = np.array([16, 4, 1])
    assert progressive_shares(counts, 0) == pytest.approx(counts / 21)
    assert progressive_shares(counts, 1) == pytest.approx([1 / 3] * 3)
    found = progressive_shares(counts, 0.25)
    assert found == pytest.approx(0.75 * counts / 21 + 0.25 / 3)


@pytest.mark.parametrize('size', [1, 7, 13, 100])
@pytest.mark.parametrize('power', [0, 0.5, 1])
def test_shared_order_rounds_each_class(size, power):
    shares = power_shares(np.bincount(SMALL), power)
    for seed in range(20):
        order = shared_order(SMALL, shares, size, generator(seed))
        drawn = np.bincount(SMALL[order], minlength=4)
        assert drawn.sum() == size
        assert np.abs(drawn - size * shares).max() < 1


def test_rounding_is_right_in_the_mean():
    shares = np.array([0.62, 0.23, 0.11, 0.04])
    total = np.zeros(4)
    for seed in range(2000):
        order = shared_order(SMALL, shares, 7, generator(seed))
        total += np.bincount(SMALL[order], minlength=4)
    # A count is one of two numbers: its standard error is below 0.012.
    assert total / 2000 == pytest.approx(7 * shares, abs=0.05)


def test_all_shares_are_instances():
    """Whole numbers come out whole in spite of floating point."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(300), range(1, 301)))
    shares = power_shares(np.bincount(labels), 1)
    for seed in range(20):
        order = shared_order(labels, shares, len(labels), generator(seed))
        assert np.array_equal(np.sort(order), np.arange(len(labels)))


@pytest.mark.parametrize('visit', [1, 3, 4])
def test_class_aware_order_is_a_round_robin(visit):
    order = class_aware_order(SMALL, 10 * 4 * visit, visit, generator())
    turns = SMALL[order].reshape(10, 4, visit)
    assert (turns == turns[..., :1]).all()  # a visit stays in its class
    rounds = turns[..., 0]
    assert (np.sort(rounds) == np.arange(4)).all()
    assert len(np.unique(rounds, axis=0)) > 5  # of 24 orders


def test_class_aware_order_ends_inside_a_visit():
    order = class_aware_order(SMALL, 7, 4, generator())
    first, second = SMALL[order[:4]], SMALL[order[4:]]
    assert len(set(first)) == len(set(second)) == 1 < len({*first, *second})


def in_passes(order):
    """Say whether each pass of a class is a permutation of it."""
    for label, count in enumerate(np.bincount(SMALL)):
        mine = order[SMALL[order] == label]
        whole = len(mine) // count * count
        passes = np.sort(mine[:whole].reshape(-1, count))
        if not (passes == np.flatnonzero(SMALL == label)).all():
            return False
        if len(set(mine[whole:])) < len(mine) - whole:
            return False
    return True


def test_an_image_waits_for_its_class():
    order = class_aware_order(SMALL, 200, 4, generator())
    assert in_passes(order)
    six = order[SMALL[order] == 0][:48].reshape(-1, 6)
    assert len(np.unique(six, axis=0)) > 5  # each pass anew


def test_every_image_has_an_equal_chance():
    seen = np.zeros(len(SMALL))
    for seed in range(3000):
        order = class_aware_order(SMALL, 4 * 3, 3, generator(seed))
        seen += np.bincount(order, minlength=len(SMALL))
    # Three draws a class; the standard error is below 0.01.
    expected = (3 / np.bincount(SMALL))[SMALL]
    assert seen / 3000 == pytest.approx(expected, abs=0.04)


def test_count_visits():
    order = np.array([4, 2, 4, 4, 0, 2])
    assert count_visits(order).tolist() == [0, 0, 1, 2, 0, 1]
    assert count_visits(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    'change, value',
    [
        (copy.deepcopy, 7),
        (lambda index: pickle.loads(pickle.dumps(index)), 7),
        (lambda index: index - 5, 2),
        (lambda index: index % 4, 3),
    ],
)
def test_a_visit_survives(change, value):
    changed = change(Visit(7, 3))
    assert (changed, changed.visit) == (value, 3)
    assert 'abcdefghijk'[Visit(7, 3)] == 'h'
    assert {7: 'seven'}[Visit(7, 3)] == 'seven'
