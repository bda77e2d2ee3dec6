"""How far the images of a class seen in training are from those of the test.

Re-balancing a loss assumes that P(x|y) is the same in training and test. Heavy
fine-tuning breaks this for tail classes (LIFT, "inconsistent class
conditions"): the paper compares distances within classes, and similarities
between them, on features of training and of test images.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import ks_2samp, wasserstein_distance
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lift_mm.evaluation import shot_groups


def class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Give the mean feature of each class.

    Args:
        features: (N, D).
        labels: Class of each, (N,).
        num_classes: C.

    Returns:
        (C, D) in float64; NaN for a class without images.
    """
    sums = features.new_zeros(
        num_classes, features.shape[1], dtype=torch.float64
    )
    sums.index_add_(0, labels, features.double())
    return sums / torch.bincount(labels, minlength=num_classes)[:, None]


def intra_class_distances(
    features: Tensor, labels: Tensor, leave_one_out: bool = False
) -> Tensor:
    """Give the cosine distance of each image from its class's mean.

    Args:
        features: (N, D).
        labels: Class of each, (N,).
        leave_one_out: Take the mean of the class's other images. The mean of
            n images holds a share of 1 / n of each of them, which makes the
            distances in small classes too short by construction.

    Returns:
        1 - cos, (N,), in float64; without itself, an image that is alone in
        its class has NaN.
    """
    size = int(labels.max()) + 1 if len(labels) else 0
    centres = class_means(features, labels, size)[labels]
    if leave_one_out:
        counts = torch.bincount(labels, minlength=size)[labels][:, None]
        # Only its direction matters: there is no need to divide.
        centres = counts * centres - features.double()
        centres[counts[:, 0] == 1] = torch.nan
    return 1 - cosine_similarity(centres, features.double(), dim=1)


def inter_class_similarity(
    features: Tensor, labels: Tensor, counts: Sequence[int]
) -> Tensor:
    """Give the cosines between class means, from head to tail.

    Args:
        features: Of test images, (N, D).
        labels: Class of each, (N,).
        counts: Training images of each class, (C,): the order.

    Returns:
        (C, C) in float64, classes by descending count; NaN for a class
        without test images.
    """
    order = np.argsort(-np.asarray(counts), kind='stable')
    means = class_means(features, labels, len(counts))[torch.tensor(order)]
    means = torch.nn.functional.normalize(means, dim=1)
    return means @ means.T


def gap(train: Tensor, test: Tensor) -> dict[str, float]:
    """Compare the distances in training with those of the test.

    Args:
        train: Distances, (N,), NaN are left out.
        test: Distances, (M,), likewise.

    Returns:
        ``train`` and ``test``: the means; ``gap``: test minus train; ``w1``:
        Wasserstein-1 distance; ``ks``: Kolmogorov-Smirnov statistic. NaN
        where one side has none.
    """
    train, test = (d[~d.isnan()].numpy() for d in (train, test))
    if not len(train) or not len(test):
        return dict.fromkeys(('train', 'test', 'gap', 'w1', 'ks'), np.nan)
    return dict(
        train=float(train.mean()),
        test=float(test.mean()),
        gap=float(test.mean() - train.mean()),
        w1=float(wasserstein_distance(train, test)),
        ks=float(ks_2samp(train, test).statistic),
    )


def class_conditions(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    counts: Sequence[int],
    thresholds: tuple[int, int] = (20, 100),
) -> dict:
    """Measure how consistent the class conditions of a model are.

    Args:
        train: Features (N, D) and labels (N,) of the training images,
            transformed as in the test.
        test: The same of the test images.
        counts: Training images of each class, (C,).
        thresholds: Of the groups, see :func:`shot_groups`.

    Returns:
        ``groups``: for each of many, medium and few, :func:`gap` as
        published and, as ``leave_one_out``, without the image itself;
        ``distances``: those of each group's ``train`` and ``test`` images;
        ``similarity``: :func:`inter_class_similarity`; ``between``: its mean
        off the diagonal; ``class_gap``: mean test minus mean training
        distance of each class, leave-one-out, (C,).
    """
    sides = dict(train=train, test=test)
    published, fair = (
        {
            side: intra_class_distances(*pair, leave_one_out=alone)
            for side, pair in sides.items()
        }
        for alone in (False, True)
    )
    groups, distances = {}, {}
    for name, members in shot_groups(counts, thresholds).items():
        members = torch.tensor(members)
        inside = {
            side: torch.isin(labels, members)
            for side, (_, labels) in sides.items()
        }
        own = {side: published[side][inside[side]] for side in sides}
        alone = {side: fair[side][inside[side]] for side in sides}
        distances[name] = own
        groups[name] = dict(
            classes=len(members),
            images={side: int(inside[side].sum()) for side in sides},
            **gap(**own),
            leave_one_out=gap(**alone),
        )
    similarity = inter_class_similarity(*test, counts)
    apart = ~torch.eye(len(counts), dtype=torch.bool)
    means = {
        side: class_means(fair[side][:, None], labels, len(counts))[:, 0]
        for side, (_, labels) in sides.items()
    }
    return dict(
        groups=groups,
        distances=distances,
        similarity=similarity,
        between=float(similarity[apart].nanmean()),
        class_gap=means['test'] - means['train'],
    )
