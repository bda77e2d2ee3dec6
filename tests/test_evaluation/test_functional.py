"""The measures against formulas written out class by class."""

import numpy as np
import pytest

from lift_mm.evaluation import (
    calibration_error,
    geometric_mean,
    harmonic_mean,
    macro_f1,
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


@pytest.mark.parametrize('num_bins', [1, 10, 15])
def test_calibration(num_bins):
    confidences = np.concatenate([RNG.rand(500) * 0.7, [1.0, 0.0, 0.5]])
    correct = RNG.rand(503) < 0.4
    edges = np.linspace(0, 1, num_bins + 1)
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
