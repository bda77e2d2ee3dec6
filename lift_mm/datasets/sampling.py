"""In which order an epoch shows its images (pure functions).

Everything random comes from a generator that the caller seeds, so an order
depends on the labels and that seed alone. Permutations are torch's, the ones
that mmengine's samplers use, too.
"""

import random

import numpy as np
import torch


class Visit(int):
    """An index that knows how often its epoch has given it before.

    It survives pickling on its way to a worker and the arithmetic of
    mmengine's ``ConcatDataset`` and ``RepeatDataset``. Their
    ``ClassBalancedDataset`` looks the index up in a list and makes a plain
    number of it.

    Attributes:
        visit: 0 for the first time; plain integers serve there as well.
    """

    def __new__(cls, index: int, visit: int = 0) -> 'Visit':
        self = super().__new__(cls, index)
        self.visit = visit
        return self

    def __sub__(self, other: int) -> 'Visit':
        return Visit(int(self) - other, self.visit)

    def __mod__(self, other: int) -> 'Visit':
        return Visit(int(self) % other, self.visit)


def count_visits(order: np.ndarray) -> np.ndarray:
    """Say of each place how often its index has come before.

    Args:
        order: Indices of an epoch, shape ``(M,)``.

    Returns:
        0 for the first time, then 1, 2, ..., shape ``(M,)``, int64.
    """
    by_index = np.argsort(order, kind='stable')
    starts = np.flatnonzero(np.diff(order[by_index], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    visits = np.empty(len(order), dtype=np.int64)
    visits[by_index] = np.arange(len(order)) - np.repeat(starts, lengths)
    return visits


def power_shares(counts: np.ndarray, power: float) -> np.ndarray:
    """Give each class a share of ``n ** power`` of an epoch.

    Source: Kang et al., "Decoupling Representation and Classifier for
    Long-Tailed Recognition", ICLR 2020, equation 1. A power of 1 is
    instance-balanced, 1/2 square-root and 0 class-balanced sampling.

    Args:
        counts: Images of each class, all above 0, shape ``(C,)``.
        power: The exponent ``q``.

    Returns:
        Shares that add up to 1, shape ``(C,)``, float64.
    """
    weights = np.asarray(counts, dtype=np.float64) ** power
    return weights / weights.sum()


def progressive_shares(counts: np.ndarray, progress: float) -> np.ndarray:
    """Pass over from instance-balanced to class-balanced shares.

    Source: Kang et al., ICLR 2020, equation 2.

    Args:
        counts: Images of each class, all above 0, shape ``(C,)``.
        progress: 0 for instance-balanced, 1 for class-balanced.

    Returns:
        Shares that add up to 1, shape ``(C,)``, float64.
    """
    instance, balanced = power_shares(counts, 1), power_shares(counts, 0)
    return (1 - progress) * instance + progress * balanced


def shared_order(
    labels: np.ndarray,
    shares: np.ndarray,
    size: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Fill an epoch with classes by their shares, in random order.

    How many images a class gives is its share of ``size``, rounded up or
    down at random so that the mean is exact (systematic sampling). A class
    shows all its images before it repeats one.

    Args:
        labels: Class of every image, ``0..C-1``, none empty, shape ``(N,)``.
        shares: Shares of the classes that add up to 1, shape ``(C,)``.
        size: Length ``M`` of the epoch.
        generator: Generator on the CPU.

    Returns:
        Positions in ``labels``, shape ``(M,)``, int64.
    """
    shift = torch.rand((), generator=generator, dtype=torch.float64).item()
    edges = np.floor(size * np.cumsum(shares) + shift).astype(np.int64)
    edges[-1] = size  # whatever rounding has made of it
    draws = np.diff(np.minimum(edges, size), prepend=0)
    order = _deal(labels, draws, generator)
    return order[torch.randperm(size, generator=generator).numpy()]


def class_aware_order(
    labels: np.ndarray,
    size: int,
    samples_per_visit: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Visit the classes in turn, some images each time.

    The list of classes is shuffled anew for each round. A class shows all
    its images before it repeats one, in a new order each time. Source: Shen
    et al., "Relay Backpropagation for Effective Learning of Deep
    Convolutional Neural Networks", ECCV 2016, "class-aware sampling".

    Args:
        labels: Class of every image, ``0..C-1``, none empty, shape ``(N,)``.
        size: Length ``M`` of the epoch; the last visit may be cut short.
        samples_per_visit: Images in a row from one class.
        generator: Generator on the CPU.

    Returns:
        Positions in ``labels``, shape ``(M,)``, int64.
    """
    num_classes = int(labels.max()) + 1
    rounds = -(-size // (num_classes * samples_per_visit))
    turns = np.repeat(np.arange(rounds), num_classes)
    classes = _shuffle_within(turns, generator) % num_classes
    slots = np.repeat(classes, samples_per_visit)[:size]
    draws = np.bincount(slots, minlength=num_classes)
    order = np.empty(size, dtype=np.int64)
    order[np.argsort(slots, kind='stable')] = _deal(labels, draws, generator)
    return order


def down_order_lift(
    labels: np.ndarray, max_per_class: int, rng: random.Random
) -> np.ndarray:
    """Take some images of each class as the program of LIFT does.

    Args:
        labels: Class of every image, shape ``(N,)``.
        max_per_class: Images to take; a class with fewer gives all.
        rng: Python's generator. Classes are shuffled by ascending label,
            then what was taken of them.

    Returns:
        Positions in ``labels``, shape ``(M,)``, int64.
    """
    kept = []
    for members in _members(labels):
        positions = members.tolist()
        rng.shuffle(positions)
        kept += positions[:max_per_class]
    rng.shuffle(kept)
    return np.array(kept, dtype=np.int64)


def down_order_lift_plus(
    labels: np.ndarray, max_per_class: int, generator: torch.Generator
) -> np.ndarray:
    """Take some images of each class as the program of LIFT+ does.

    Args:
        labels: Class of every image, shape ``(N,)``.
        max_per_class: Images to take; a class with fewer gives all.
        generator: Generator on the CPU. Classes are permuted by their first
            appearance in ``labels``, then what was taken of them.

    Returns:
        Positions in ``labels``, shape ``(M,)``, int64.
    """

    def permutation(length: int) -> np.ndarray:
        return torch.randperm(length, generator=generator).numpy()

    classes = sorted(_members(labels), key=lambda members: members[0])
    kept = np.concatenate(
        [
            members[permutation(len(members))[:max_per_class]]
            for members in classes
        ]
    )
    return kept[permutation(len(kept))]


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Give the positions of each class, by ascending label."""
    order = np.argsort(labels, kind='stable')
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _deal(
    labels: np.ndarray, draws: np.ndarray, generator: torch.Generator
) -> np.ndarray:
    """Draw ``draws[c]`` images of each class ``c``, class by class.

    A class that gives more than it has repeats its images pass by pass, each
    pass a permutation.
    """
    counts = np.bincount(labels)
    passes = -(-draws // counts)
    lengths = counts * passes
    owner = np.repeat(np.arange(len(counts)), lengths)
    place = np.arange(len(owner)) - (np.cumsum(lengths) - lengths)[owner]
    first = np.cumsum(counts) - counts
    members = np.argsort(labels, kind='stable')
    images = members[first[owner] + place % counts[owner]]
    # Each pass of each class is shuffled for itself.
    group = np.repeat(np.arange(passes.sum()), np.repeat(counts, passes))
    images = images[_shuffle_within(group, generator)]
    return images[place < draws[owner]]


def _shuffle_within(
    groups: np.ndarray, generator: torch.Generator
) -> np.ndarray:
    """Permute positions inside each group; ``groups`` ascends."""
    random_order = torch.randperm(len(groups), generator=generator).numpy()
    return random_order[np.argsort(groups[random_order], kind='stable')]
