"""The measures against formulas written out class by class."""

import numpy as np
import pytest
from parity_data import load

from lift_mm.evaluation import (
    calibration_error,
    geometric_mean,
    group_counts,
    harmonic_mean,
    macro_f1,
    measures,
    most_confused,
    per_class_recall,
    shot_groups,
)

RNG = np.random.RandomState(0)
LABELS = RNG.randint(0, 6, 200)
GUESSES = np.where(RNG.rand(200) < 0.5, LABELS, RNG.randint(0, 8, 200))


def test_recall():
    recalls = per_class_recall(LABELS, GUESSES, 8)
    for c in range(6):
        want = 100 * np.mean(GUESSES[LABELS == c] == c)
        assert recalls[c] == pytest.approx(want)
    assert np.isnan(recalls[6:]).all()


def test_groups():
    groups = shot_groups([101, 100, 20, 19])
    want = dict(many=[0], medium=[1, 2], few=[3])
    assert {name: g.tolist() for name, g in groups.items()} == want
    groups = shot_groups([5, 3, 2, 1], thresholds=(2, 3))
    want = dict(many=[0], medium=[1, 2], few=[3])
    assert {name: g.tolist() for name, g in groups.items()} == want
    assert shot_groups([200])['few'].tolist() == []


@pytest.mark.parametrize(
    'groups, counts, want',
    [
        ('train', [7, 3, 1], [7, 3, 1]),
        ('train', None, None),
        ('ir100', None, None),
        ('ir100', [1000, 1000, 1000], [1000, 100, 10]),
        ('ir100', [1000, 900, 800], [1000, 100, 10]),
        ([9, 8], [7, 3], [9, 8]),
        ([9, 8], None, [9, 8]),
    ],
)
def test_counts_of_groups(groups, counts, want):
    assert group_counts(groups, counts) == want


@pytest.mark.parametrize('ratio', [1, 10, 50, 100])
def test_every_cifar_has_the_groups_of_ratio_100(ratio):
    """LIFT's program, SPEC 10."""
    published = load('cifar_lt')
    counts = [500] * 100
    if ratio > 1:
        counts = published[f'counts/ir{ratio}'].tolist()
    found = group_counts('ir100', counts)
    assert found == published['counts/ir100'].tolist()
    sizes = [len(group) for group in shot_groups(found).values()]
    assert sizes == [35, 35, 30]


@pytest.mark.parametrize(
    'ratio, sizes', [(10, [69, 31, 0]), (50, [41, 41, 18])]
)
def test_groups_of_the_training_counts(ratio, sizes):
    """LIFT+, SPEC 10."""
    counts = load('cifar_lt')[f'counts/ir{ratio}'].tolist()
    groups = shot_groups(group_counts('train', counts))
    assert [len(group) for group in groups.values()] == sizes


def test_confusion():
    others, times = most_confused(LABELS, GUESSES, 8)
    for c in range(8):
        wrong = GUESSES[(LABELS == c) & (GUESSES != c)]
        counts = np.bincount(wrong, minlength=8)
        assert times[c] == counts.max()
        assert others[c] == (counts.argmax() if counts.max() else -1)
    others, times = most_confused(np.array([1, 1, 1]), np.array([2, 0, 1]), 3)
    assert others.tolist() == [-1, 0, -1]  # the lowest of several
    assert times.tolist() == [0, 1, 0]
    # The squared number of classes of iNaturalist exceeds no type.
    labels = np.array([8141, 8141], dtype=np.int32)
    others, _ = most_confused(labels, labels - 1, 8142)
    assert others[8141] == 8140


def test_means():
    recalls = np.array([100.0, 50.0, 25.0])
    assert harmonic_mean(recalls) == pytest.approx(300 / 7)
    assert geometric_mean(recalls) == pytest.approx(50.0)
    recalls = np.array([100.0, 0.0])
    assert harmonic_mean(recalls) == pytest.approx(2 / (0.01 + 1000))
    assert geometric_mean(recalls) == 0.0
    # The product of these underflows.
    assert geometric_mean(np.full(1000, 0.1)) == pytest.approx(0.1)


def test_f1():
    scores = []
    for c in range(6):  # classes 6 and 7 have no image
        hits = np.sum((LABELS == c) & (GUESSES == c))
        precision = hits / np.sum(GUESSES == c)
        recall = hits / np.sum(LABELS == c)
        scores.append(2 * precision * recall / (precision + recall))
    assert macro_f1(LABELS, GUESSES, 8) == pytest.approx(100 * np.mean(scores))
    assert macro_f1(np.array([0, 1]), np.array([1, 0]), 2) == 0.0


@pytest.mark.parametrize('seed', range(20))
def test_f1_of_scikit_learn(seed):
    metrics = pytest.importorskip('sklearn.metrics')
    rng = np.random.RandomState(seed)
    size = rng.randint(2, 30)
    labels, guesses = rng.randint(0, size, (2, 60))
    want = metrics.f1_score(
        labels, guesses, labels=np.unique(labels), average='macro'
    )
    assert macro_f1(labels, guesses, size) == pytest.approx(100 * want)


@pytest.mark.parametrize('num_bins', [1, 3, 10, 15, 100])
def test_calibration(num_bins):
    """Random ones, empty bins above 0.7, and all edges with 0 and 1."""
    edges = [number / num_bins for number in range(num_bins + 1)]
    confidences = np.concatenate([RNG.rand(500) * 0.7, edges])
    correct = RNG.rand(len(confidences)) < 0.4
    want = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidences > low) & (confidences <= high)
        if low == 0:
            inside |= confidences == 0
        if inside.any():
            gap = correct[inside].mean() - confidences[inside].mean()
            want += inside.mean() * abs(gap)
    error = calibration_error(confidences, correct, num_bins)
    assert error == pytest.approx(100 * want)


def test_calibration_by_hand():
    # Bin 0.9..1: right half the time at 0.95; bin 0.5..0.6: always right.
    confidences = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    want = 100 * (0.5 * 0.45 + 0.5 * 0.45)
    assert calibration_error(confidences, correct) == pytest.approx(want)


def test_bin_of_an_edge():
    # 0.07 * 100 is above 7 in floating point; the bin is (0.06, 0.07].
    confidences, correct = np.array([0.07, 0.061]), np.array([True, False])
    want = 100 * abs(1 - 0.131) / 2
    assert calibration_error(confidences, correct, 100) == pytest.approx(want)


def test_measures_leave_out_what_cannot_be_measured():
    groups = shot_groups([500, 60, 5, 4])
    labels, guesses = np.array([0, 1, 1]), np.array([0, 1, 3])
    found = measures(labels, guesses, np.array([1.0, 1.0, np.nan]), groups)
    assert found['acc_mean'] == 75 and found['acc_medium'] == 50
    assert found.keys().isdisjoint({'acc_few', 'ece'})
    assert not any(map(np.isnan, found.values()))
