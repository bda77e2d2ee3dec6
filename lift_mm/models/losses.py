"""Losses for long-tailed training sets."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from lift_mm.registry import MODELS


@MODELS.register_module()
class LogitAdjustedLoss(nn.Module):
    """Cross entropy of ``logits + tau * log prior`` (Menon et al., 2021).

    The prior is the share of each class in the training set. It enters the
    loss only; test logits stay as they are (LIFT, section 4.1).

    Args:
        tau: Weight of the prior; 1 is Bayes-consistent.
        class_counts: Training images of each class; filled in by
            ``ClassInfoHook`` when not given.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: A class without images, whose log prior is infinite.
    """

    def __init__(
        self,
        tau: float = 1.0,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if reduction not in ('mean', 'sum', 'none'):
            raise ValueError(
                f'reduction={reduction!r} of LogitAdjustedLoss must be '
                "'mean', 'sum' or 'none' (key `head.loss.reduction`)."
            )
        self.tau = tau
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.given = class_counts is not None
        # Known from the dataset whenever it is needed: not in checkpoints.
        self.register_buffer('log_prior', None, persistent=False)
        if self.given:
            self._set(class_counts)

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Take the training counts of the dataset, unless a config gave some.

        Raises:
            ValueError: A class has no image; it is named.
        """
        if counts is None or self.given:
            return
        empty = [name for name, n in zip(names, counts) if n == 0]
        if empty:
            raise ValueError(
                f'{len(empty)} classes have no training image, first '
                f'{empty[0]!r}: their prior is zero and the logit-adjusted '
                'loss infinite; drop them, or give `head.loss.class_counts`.'
            )
        self._set(counts)

    def _set(self, counts: Sequence[int]) -> None:
        counts = torch.as_tensor(list(counts), dtype=torch.float64)
        if counts.ndim != 1 or not (counts > 0).all():
            raise ValueError(
                'class_counts of LogitAdjustedLoss must be one positive '
                'number a class (key `head.loss.class_counts`).'
            )
        prior = (counts / counts.sum()).log().float()
        old = self.log_prior
        self.log_prior = prior if old is None else prior.to(old.device)

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: int | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Give the loss.

        Args:
            cls_score: Logits (B, C).
            target: Labels (B,), or probabilities (B, C) of mixed images.
            weight: Weight of each sample (B,).
            avg_factor: What a mean divides by instead of B.
            reduction_override: Goes before ``reduction``.

        Raises:
            ValueError: The class counts are unknown or do not fit.
        """
        prior = self.log_prior
        if prior is None:
            raise ValueError(
                f'LogitAdjustedLoss needs {cls_score.shape[1]} class counts '
                "and has none: keep dict(type='lift_mm.ClassInfoHook') in "
                '`custom_hooks`, or give `head.loss.class_counts`.'
            )
        if len(prior) != cls_score.shape[1]:
            raise ValueError(
                f'The head gives {cls_score.shape[1]} logits and the '
                f'training set has {len(prior)} classes; they must agree '
                '(keys `model.head.num_classes` and '
                '`head.loss.class_counts`).'
            )
        prior = prior.to(cls_score.device)
        loss = F.cross_entropy(
            cls_score.float() + self.tau * prior, target, reduction='none'
        )
        weight = None if weight is None else weight.float()
        reduction = reduction_override or self.reduction
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )
