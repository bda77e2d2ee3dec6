"""The metric against scikit-learn, plain loops, and any number of ranks."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lift_mm.evaluation import LongTailMetric
from lift_mm.evaluation.functional import (
    calibration_error,
    geometric_mean,
    harmonic_mean,
    measures,
    most_confused,
    per_class_recall,
    shot_groups,
)

COUNTS = st.lists(st.integers(0, 300), min_size=1, max_size=8)


@st.composite
def results(draw):
    """Draw training counts, labels, predictions and confidences."""
    counts = draw(COUNTS)
    number = draw(st.integers(1, 40))
    classes = hnp.arrays(int, number, elements=st.integers(0, len(counts) - 1))
    # Edges of bins as well, among them 0 and 1.
    rates = st.floats(0, 1) | st.integers(0, 100).map(lambda n: n / 100)
    confidences = hnp.arrays(float, number, elements=rates)
    return counts, draw(classes), draw(classes), draw(confidences)


@given(results())
def test_accuracy_recall_and_f1_of_scikit_learn(drawn):
    metrics = pytest.importorskip('sklearn.metrics')
    counts, labels, guesses, confidences = drawn
    found = measures(labels, guesses, confidences, shot_groups(counts))
    accuracy = metrics.accuracy_score(labels, guesses)
    assert found['acc'] == pytest.approx(100 * accuracy)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # classes guessed but not tested
        balanced = metrics.balanced_accuracy_score(labels, guesses)
    assert found['acc_mean'] == pytest.approx(100 * balanced)
    present = np.unique(labels)
    recalls = metrics.recall_score(
        labels, guesses, labels=present, average=None
    )
    own = per_class_recall(labels, guesses, len(counts))
    np.testing.assert_allclose(own[present], 100 * recalls)
    assert np.isnan(np.delete(own, present)).all()
    f1 = metrics.f1_score(labels, guesses, labels=present, average='macro')
    assert found['f1_macro'] == pytest.approx(100 * f1)
    assert found['acc_worst'] == pytest.approx(100 * recalls.min())


@given(results(), st.integers(1, 20))
def test_calibration_by_a_loop(drawn, num_bins):
    _, labels, guesses, confidences = drawn
    correct = labels == guesses
    bins = {}
    for confidence, hit in zip(confidences, correct, strict=True):
        place = 0  # each bin is open below and closed above
        while place < num_bins - 1 and confidence > (place + 1) / num_bins:
            place += 1
        bins.setdefault(place, []).append((confidence, hit))
    expected = sum(
        abs(sum(hit - confidence for confidence, hit in members))
        for members in bins.values()
    ) / len(labels)
    found = calibration_error(confidences, correct, num_bins)
    assert found == pytest.approx(100 * expected, abs=1e-9)


@given(COUNTS, st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted))
def test_every_class_is_in_one_group(counts, thresholds):
    groups = shot_groups(counts, tuple(thresholds))
    low, high = thresholds
    for label, count in enumerate(counts):
        name = 'few' if count < low else 'many' if count > high else 'medium'
        assert [n for n, g in groups.items() if label in g] == [name]


@given(results())
def test_groups_and_means_stay_between_the_classes(drawn):
    counts, labels, guesses, confidences = drawn
    groups = shot_groups(counts)
    found = measures(labels, guesses, confidences, groups)
    recalls = per_class_recall(labels, guesses, len(counts))
    for name, members in groups.items():
        tested = [recalls[m] for m in members if not np.isnan(recalls[m])]
        assert (f'acc_{name}' in found) is bool(tested)
        if tested:
            assert found[f'acc_{name}'] == pytest.approx(np.mean(tested))
    present = recalls[~np.isnan(recalls)]
    assert geometric_mean(present) <= found['acc_mean'] + 1e-9
    floored = np.maximum(present, 1e-3)
    assert harmonic_mean(present) <= floored.mean() + 1e-9
    assert harmonic_mean(present) >= floored.min() - 1e-9
    assert all(0 <= value <= 100 + 1e-9 for value in found.values())


@given(results())
def test_confusion_by_a_loop(drawn):
    counts, labels, guesses, _ = drawn
    others, times = most_confused(labels, guesses, len(counts))
    for label in range(len(counts)):
        wrong = guesses[(labels == label) & (guesses != label)]
        table = np.bincount(wrong, minlength=len(counts))
        assert times[label] == table.max()
        assert others[label] == (table.argmax() if table.any() else -1)


@st.composite
def splits(draw):
    """Draw predictions and the ranks and batches that they come in."""
    counts, labels, guesses, _ = draw(results())
    seed = draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    size = (len(labels), len(counts))
    scores = torch.rand(*size, generator=generator)
    samples = [
        dict(gt_label=torch.tensor([label]), pred_score=score.softmax(0))
        for label, score in zip(labels.tolist(), scores, strict=True)
    ]
    ranks = draw(st.integers(1, 4))
    return counts, samples, ranks, draw(st.integers(1, 9))


@given(splits())
def test_ranks_and_batches_do_not_matter(drawn):
    counts, samples, ranks, batch = drawn
    settings = dict(class_counts=counts, table=0)
    whole = LongTailMetric(**settings)
    whole.process({}, samples)
    expected = whole.evaluate(len(samples))
    # A distributed sampler deals in turn and repeats the first ones at the
    # end; gathering puts the parts together in turn and cuts to size.
    padded = samples * ranks
    share = -(-len(samples) // ranks)
    parts = []
    for rank in range(ranks):
        metric = LongTailMetric(**settings)
        mine = padded[rank : share * ranks : ranks]
        for start in range(0, share, batch):
            metric.process({}, mine[start : start + batch])
        parts.append(metric.results)
    merged = LongTailMetric(**settings)
    rows = [row for turn in zip(*parts, strict=True) for row in turn]
    found = merged.compute_metrics(rows[: len(samples)])
    assert {f'lt/{key}': value for key, value in found.items()} == expected
