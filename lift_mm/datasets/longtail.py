"""How a balanced set is thinned out to a long tail (pure functions)."""

import math
from collections.abc import Sequence
from numbers import Real

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
        TypeError: ``ratio`` is no number.
        ValueError: ``ratio`` is below 1 or infinite.
    """
    _check_ratio(ratio)
    last = max(num_classes - 1, 1)
    # `(1 / ratio) ** x` and `ratio ** -x` can differ in the last bit, and
    # `int` would then give another count: the published form is kept.
    sizes = (n_max * (1 / ratio) ** (c / last) for c in range(num_classes))
    return [max(int(size), 1) for size in sizes]


def pareto_counts(
    n_max: int, num_classes: int, ratio: float, alpha: float = 6
) -> list[int]:
    """Give the class sizes of a Pareto long tail.

    ImageNet-LT follows a Pareto distribution of power ``alpha = 6`` (Liu et
    al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019),
    which does not say how the sizes were drawn. Here class ``c`` of ``C``
    stands at the quantile ``q_c = ((c + 1) / C) ** (-1 / alpha)``, and the
    quantiles are stretched to run from ``n_max`` to ``n_max / ratio``; the
    sizes are rounded down, and at least one. From 1280 down to 5 images in
    1000 classes that gives 404 many-, 456 medium- and 140 few-shot classes;
    the published lists have 385, 479 and 136.

    Args:
        n_max: Images of the first, the largest class.
        num_classes: Number of classes ``C``.
        ratio: Imbalance ratio, the largest over the smallest class size.
        alpha: Power of the distribution, above 0. Less is a longer tail.

    Returns:
        ``num_classes`` sizes that never rise from class to class.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: ``ratio`` is below 1 or infinite.
    """
    _check_ratio(ratio)
    if num_classes < 2:
        return [n_max] * num_classes
    quantiles = (np.arange(1, num_classes + 1) / num_classes) ** (-1 / alpha)
    depth = (quantiles[0] - quantiles) / (quantiles[0] - 1)
    # Exact at both ends, where `int` would else cut off one image.
    sizes = n_max - (n_max - n_max / ratio) * depth
    return [max(int(size), 1) for size in sizes]


def step_counts(
    n_max: int, num_classes: int, ratio: float, mu: float = 0.5
) -> list[int]:
    """Give the class sizes of a step: some large classes, the others small.

    The small classes have ``n_max / ratio`` images each, rounded down to at
    least one: the step imbalance of Buda et al., "A systematic study of the
    class imbalance problem in convolutional neural networks", 2018.

    Args:
        n_max: Images of a large class.
        num_classes: Number of classes.
        ratio: Imbalance ratio, the largest over the smallest class size.
        mu: Share of small classes, between 0 and 1. At least one class
            stays large.

    Returns:
        ``num_classes`` sizes that never rise from class to class.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: ``ratio`` is below 1 or infinite, or ``mu`` no share.
    """
    _check_ratio(ratio)
    if not 0 <= mu <= 1:
        raise ValueError(
            f'The share of small classes is {mu}; give a number between 0 '
            'and 1 (option `--mu`).'
        )
    # Halves go to the small classes: 2 of 5 are large, as in LDAM-DRW.
    large = max(num_classes - int(mu * num_classes + 0.5), 1)
    small = max(int(n_max / ratio), 1)
    return [n_max] * large + [small] * (num_classes - large)


SHAPES = dict(
    exponential=long_tail_counts, pareto=pareto_counts, step=step_counts
)


def imbalanced_counts(
    shape: str, n_max: int, num_classes: int, ratio: float, **kwargs
) -> list[int]:
    """Give the class sizes of a long tail of the named shape.

    Args:
        shape: ``'exponential'``, ``'pareto'`` or ``'step'``, see
            :func:`long_tail_counts`, :func:`pareto_counts` and
            :func:`step_counts`.
        n_max: Images of the first, the largest class.
        num_classes: Number of classes.
        ratio: Imbalance ratio, the largest over the smallest class size.
        **kwargs: What the shape takes besides.

    Returns:
        ``num_classes`` sizes that never rise from class to class.

    Raises:
        TypeError: ``ratio`` is no number.
        ValueError: The shape is unknown, or ``ratio`` is out of range.
    """
    if shape not in SHAPES:
        raise ValueError(
            f'There is no imbalance of shape {shape!r}; it can be one of '
            f'{list(SHAPES)} (dataset key `imbalance_shape`).'
        )
    return SHAPES[shape](n_max, num_classes, ratio, **kwargs)


def head_to_tail(
    sizes: Sequence[int], order: str, seed: int = 0
) -> np.ndarray:
    """Choose which classes become the head and which the tail.

    Args:
        sizes: Images that each class has, by label, shape ``(C,)``.
        order: ``'size'`` puts the largest class first and leaves equal ones
            in label order, ``'name'`` goes by label, ``'random'`` shuffles.
        seed: Seed of the shuffling.

    Returns:
        Labels from the head to the tail, shape ``(C,)``.

    Raises:
        ValueError: The order is unknown.
    """
    if order == 'size':
        return np.argsort(-np.asarray(sizes), kind='stable')
    if order == 'name':
        return np.arange(len(sizes))
    if order == 'random':
        return np.random.RandomState(seed).permutation(len(sizes))
    raise ValueError(
        f'There is no order {order!r} of classes; it can be one of '
        "['size', 'name', 'random'] (option `--order`)."
    )


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
    labels: Sequence[int] | np.ndarray,
    fraction: float,
    balanced: bool = False,
) -> np.ndarray:
    """Choose images of each class to hold out for validation.

    The choice depends on the labels alone, so the training and the
    validation set of a run cannot overlap whatever their seeds are. A class
    keeps at least one training image, and gives at least one for validation
    where it has two.

    Args:
        labels: Class index of every image, shape ``(N,)``.
        fraction: Share to hold out, between 0 and 1.
        balanced: Whether each class gives equally many images: the share of
            the smallest class, and none where that has one image.

    Returns:
        True for the images held out, shape ``(N,)``.

    Raises:
        TypeError: ``fraction`` is no number.
        ValueError: ``fraction`` is not between 0 and 1.
    """
    if not isinstance(fraction, Real):
        raise TypeError(
            f'val_fraction={fraction!r} is no number; give one between 0 '
            'and 1 (dataset key `val_fraction`, option `--val-fraction`).'
        )
    if not 0 < fraction < 1:
        raise ValueError(
            f'val_fraction={fraction} is no share; give a number between 0 '
            'and 1 (dataset key `val_fraction`, option `--val-fraction`).'
        )
    labels = np.asarray(labels)
    rng = np.random.RandomState(0)
    held_out = np.zeros(len(labels), dtype=bool)
    found, sizes = np.unique(labels, return_counts=True)
    if balanced:
        sizes = np.full_like(sizes, sizes.min(initial=len(labels)))
    for label, size in zip(found, sizes, strict=True):
        positions = np.flatnonzero(labels == label)
        rng.shuffle(positions)
        wanted = max(round(fraction * size), 1)
        held_out[positions[: min(wanted, size - 1)]] = True
    return held_out


def _check_ratio(ratio: float) -> None:
    if not isinstance(ratio, Real):
        raise TypeError(
            f'The imbalance ratio is {ratio!r}, which is no number; give one '
            'of at least 1 (dataset key `imbalance_ratio`, option `--ratio`).'
        )
    if not 1 <= ratio < math.inf:
        raise ValueError(
            f'The imbalance ratio is {ratio}, but it is the size of the '
            'largest class over that of the smallest; give a finite number '
            'of at least 1 (dataset key `imbalance_ratio`, option `--ratio`).'
        )
