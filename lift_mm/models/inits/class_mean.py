"""Rows along the classes' mean features."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from lift_mm.registry import WEIGHT_INITIALIZERS

from .image_init import ImageInit


def class_mean_rows(
    batches: Iterator[tuple[Tensor, Tensor]], shape: tuple[int, int]
) -> Tensor:
    """Give the direction of each class's mean feature.

    The mean is that of features which are not normalised (LIFT, head
    initialisation ``class_mean``). Sums are kept in float64 and no feature
    is kept, so that the number of images does not matter.

    Args:
        batches: Labels (B,) and features (B, D) of this rank's images.
        shape: (C, D).

    Returns:
        (C, D) in float32, rows of unit length, the same on all ranks.
    """
    sums = torch.zeros(shape, dtype=torch.float64)
    for labels, features in batches:
        sums.index_add_(0, labels, features.double())
    dist.all_reduce(sums)
    return F.normalize(sums, dim=-1).float()


@WEIGHT_INITIALIZERS.register_module()
class ClassMeanInit(ImageInit):
    """Rows along the mean features of the classes (LIFT, ``class_mean``).

    Args: See :class:`ImageInit`. LIFT takes all images or ``shots`` of 1, 10
    or 100, LIFT+ always ``shots=100``.
    """

    def rows(self, batches, labels, shape) -> Tensor:
        """See :meth:`ImageInit.rows`."""
        named = ((labels[where], feature) for where, feature in batches)
        return class_mean_rows(named, shape)
