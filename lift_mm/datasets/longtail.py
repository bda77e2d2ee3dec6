"""How a balanced set is thinned out to a long tail (pure functions)."""

from collections.abc import Sequence

import numpy as np


def long_tail_counts(n_max: int, num_classes: int, ratio: float) -> list[int]:
    """Give the class sizes of an exponential long tail.

    Class ``c`` of ``C`` gets ``n_max * (1 / ratio) ** (c / (C - 1))`` images,
    rounded down, and at least one. This is the CIFAR-LT rule of LDAM-DRW
    (Cao et al., 2019) that LIFT uses (section 5.1, "Datasets").

    Args:
        n_max: Images of the first, the largest class.
        num_classes: Number of classes ``C``.
        ratio: Imbalance ratio, the largest over the smallest class size.

    Returns:
        ``num_classes`` sizes that never rise from class to class.

    Raises:
        ValueError: ``ratio`` is below 1.
    """
    if not ratio >= 1:
        raise ValueError(
            f'The imbalance ratio is {ratio}, but the largest class cannot '
            'be smaller than the smallest; give a number of at least 1 '
            '(dataset key `imbalance_ratio`).'
        )
    last = max(num_classes - 1, 1)
    # `(1 / ratio) ** x` and `ratio ** -x` can differ in the last bit, and
    # `int` would then give another count: the published form is kept.
    sizes = (n_max * (1 / ratio) ** (c / last) for c in range(num_classes))
    return [max(int(size), 1) for size in sizes]


def long_tail_indices(
    labels: Sequence[int] | np.ndarray,
    counts: Sequence[int],
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw at random which images of each class stay.

    The images of a class are shuffled and the first ones kept, class by
    class with one generator. So subsets of one seed are nested: a smaller
    imbalance ratio keeps the same images and more.

    Args:
        labels: Class index of every image, shape ``(N,)``.
        counts: Images to keep of each class; a class that has fewer keeps
            all that it has.
        rng: Numpy's legacy generator, as in the published CIFAR-LT subsets.

    Returns:
        Positions in ``labels``, class by class, shape ``(M,)``, int64.
    """
    labels = np.asarray(labels)
    kept = []
    for label, count in enumerate(counts):
        positions = np.flatnonzero(labels == label)
        rng.shuffle(positions)
        kept.append(positions[:count])
    return np.concatenate(kept).astype(np.int64)


def holdout_mask(
    labels: Sequence[int] | np.ndarray, fraction: float
) -> np.ndarray:
    """Choose images of each class to hold out for validation.

    The choice depends on the labels alone, so the training and the
    validation set of a run cannot overlap whatever their seeds are. A class
    keeps at least one training image, and gives at least one for validation
    where it has two.

    Args:
        labels: Class index of every image, shape ``(N,)``.
        fraction: Share to hold out, between 0 and 1.

    Returns:
        True for the images held out, shape ``(N,)``.

    Raises:
        ValueError: ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f'val_fraction={fraction} is no share; give a number between 0 '
            'and 1 (dataset key `val_fraction`).'
        )
    labels = np.asarray(labels)
    rng = np.random.RandomState(0)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        rng.shuffle(positions)
        wanted = max(round(fraction * len(positions)), 1)
        held_out[positions[: min(wanted, len(positions) - 1)]] = True
    return held_out
