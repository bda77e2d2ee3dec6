"""Measures of long-tail recognition (pure numpy functions).

Rates go in and come out in per cent, as the papers print them. NaN marks
what cannot be measured, for example the recall of a class without images.
"""

from collections.abc import Sequence

import numpy as np


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
    bins = np.ceil(confidences * num_bins).astype(int) - 1
    bins = bins.clip(0, num_bins - 1)
    # |accuracy - confidence| * images of a bin is |sum of differences|.
    gaps = np.bincount(bins, weights=correct - confidences)
    return float(100.0 * np.abs(gaps).sum() / len(confidences))
