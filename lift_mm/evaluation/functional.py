"""Measures of long-tail recognition (pure numpy functions).

Rates go in and come out in per cent, as the papers print them. NaN marks
what cannot be measured, for example the recall of a class without images.
"""

from collections.abc import Sequence

import numpy as np

from lift_mm.datasets.longtail import long_tail_counts


def per_class_recall(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """Give the share of each class's images that is recognised.

    Args:
        labels: True class of every image, shape ``(N,)``.
        predictions: Predicted class of every image, shape ``(N,)``.
        num_classes: Number of classes ``C``.

    Returns:
        Recalls in per cent, shape ``(C,)``; NaN for a class without images.
    """
    total = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    recalls = np.full(num_classes, np.nan)
    np.divide(100.0 * hits, total, out=recalls, where=total > 0)
    return recalls


def shot_groups(
    counts: Sequence[int], thresholds: tuple[int, int] = (20, 100)
) -> dict[str, np.ndarray]:
    """Part the classes by their number of training images.

    Args:
        counts: Training images of each class, shape ``(C,)``.
        thresholds: Smallest and largest number of a medium-shot class.
            Below is few-shot, above is many-shot (OLTR; LIFT, section 5.1).

    Returns:
        The class indices of ``many``, ``medium`` and ``few``.
    """
    counts = np.asarray(counts)
    low, high = thresholds
    return dict(
        many=np.flatnonzero(counts > high),
        medium=np.flatnonzero((counts >= low) & (counts <= high)),
        few=np.flatnonzero(counts < low),
    )


def group_counts(
    groups: str | Sequence[int], counts: Sequence[int] | None
) -> list[int] | None:
    """Give the counts that part the classes into groups.

    Args:
        groups: ``'train'`` for the training counts (LIFT+), ``'ir100'`` for
            the counts of an exponential long tail of imbalance ratio 100
            with the same largest class (LIFT's program, for every CIFAR),
            or the counts themselves.
        counts: Training images of each class, shape ``(C,)``, if known.

    Returns:
        A count for each class; None where the training counts are needed
        and unknown.
    """
    if groups not in ('train', 'ir100'):
        return list(groups)
    if counts is None or groups == 'train':
        return counts
    return long_tail_counts(max(counts), len(counts), 100)


def most_confused(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give what each class is most often mistaken for.

    Args:
        labels: True class of every image, shape ``(N,)``.
        predictions: Predicted class of every image, shape ``(N,)``.
        num_classes: Number of classes ``C``.

    Returns:
        The other class, the lowest of several, and how many images were
        taken for it, both of shape ``(C,)``; -1 and 0 where there are none.
    """
    wrong = labels != predictions
    # C * C cells would be 66 million for iNaturalist: only those that occur.
    pairs = labels[wrong].astype(np.int64) * num_classes + predictions[wrong]
    cells, times = np.unique(pairs, return_counts=True)
    true, named = np.divmod(cells, num_classes)
    order = np.lexsort((named, -times, true))
    rows, first = np.unique(true[order], return_index=True)
    others = np.full(num_classes, -1)
    counts = np.zeros(num_classes, dtype=np.int64)
    others[rows] = named[order][first]
    counts[rows] = times[order][first]
    return others, counts


def harmonic_mean(recalls: np.ndarray, floor: float = 1e-3) -> float:
    """Give the harmonic mean, with values below ``floor`` raised to it.

    Args:
        recalls: Recalls in per cent, shape ``(C,)``.
        floor: In per cent. Without it one class at 0 would hide the others.
    """
    return float(1.0 / np.mean(1.0 / np.maximum(recalls, floor)))


def geometric_mean(recalls: np.ndarray) -> float:
    """Give the geometric mean; 0 if any class is at 0.

    Computed from logarithms, for the product of 1000 recalls underflows.

    Args:
        recalls: Recalls in per cent, shape ``(C,)``.
    """
    if np.any(recalls <= 0):
        return 0.0
    return float(np.exp(np.mean(np.log(recalls))))


def macro_f1(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> float:
    """Give the mean F1 score of the classes that have images.

    Args:
        labels: True class of every image, shape ``(N,)``.
        predictions: Predicted class of every image, shape ``(N,)``.
        num_classes: Number of classes.

    Returns:
        The mean in per cent.
    """
    total = np.bincount(labels, minlength=num_classes)
    named = np.bincount(predictions, minlength=num_classes)
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    present = total > 0
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is named + total.
    f1 = 2.0 * hits[present] / (named + total)[present]
    return float(100.0 * f1.mean())


def calibration_error(
    confidences: np.ndarray, correct: np.ndarray, num_bins: int = 10
) -> float:
    """Give the expected calibration error (Guo et al., ICML 2017).

    Args:
        confidences: Probability of the predicted class, in 0..1, shape
            ``(N,)``.
        correct: Whether the prediction is right, shape ``(N,)``.
        num_bins: Number of equal bins, each open below and closed above.

    Returns:
        The mean gap between confidence and accuracy over the bins, weighted
        by their images, in per cent. Empty bins do not count.
    """
    # Compared with the edges, for 0.07 * 100 is above 7 in floating point.
    edges = np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(edges, confidences)
    # |accuracy - confidence| * images of a bin is |sum of differences|.
    gaps = np.bincount(bins, weights=correct - confidences)
    return float(100.0 * np.abs(gaps).sum() / len(confidences))


def measures(
    labels: np.ndarray,
    predictions: np.ndarray,
    confidences: np.ndarray,
    groups: dict[str, np.ndarray],
    num_bins: int = 10,
) -> dict[str, float]:
    """Compute all measures.

    Args:
        labels: True class of every image, shape ``(N,)``.
        predictions: Predicted class of every image, shape ``(N,)``.
        confidences: Probability of the predicted class, shape ``(N,)``.
        groups: The class indices of each group; every class is in one.
        num_bins: Bins of the calibration error.

    Returns:
        The measures in per cent. ``acc_<group>`` is lacking where no class
        of the group has images, and ``ece`` where a confidence is NaN.
    """
    size = sum(map(len, groups.values()))
    correct = labels == predictions
    recalls = per_class_recall(labels, predictions, size)
    present = recalls[~np.isnan(recalls)]
    found = dict(acc=100.0 * correct.mean(), acc_mean=present.mean())
    for name, members in groups.items():
        rates = recalls[members]
        rates = rates[~np.isnan(rates)]
        if len(rates):
            found[f'acc_{name}'] = rates.mean()
    found.update(
        acc_worst=present.min(),
        hmean=harmonic_mean(present),
        gmean=geometric_mean(present),
        f1_macro=macro_f1(labels, predictions, size),
    )
    if not np.isnan(confidences).any():
        found['ece'] = calibration_error(confidences, correct, num_bins)
    return {name: float(value) for name, value in found.items()}
