"""What all losses share: their interface, and one rule for validation."""

import math
from collections.abc import Callable
from numbers import Real

import torch
import torch.nn.functional as F
from mmpretrain.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn


class LongTailLoss(nn.Module):
    """A classification loss that changes cross entropy in training.

    A validation loss (in eval mode and without gradients, as a runner's
    validation loop computes) is the plain cross entropy of the logits, which
    needs no class counts: what repairs a long-tailed training set has no
    place there, and validation losses of different recipes compare.

    Whatever type the logits have, the loss is computed in float32.

    Args:
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. mmpretrain's heads
            give an ``avg_factor``, which ``'sum'`` refuses.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: A setting is impossible.
    """

    #: Whether targets may be class probabilities, as Mixup makes them.
    takes_soft_targets = True

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if reduction not in ('mean', 'sum', 'none'):
            raise ValueError(
                f'reduction={reduction!r} of {type(self).__name__} must be '
                "'mean', 'sum' or 'none' (key `model.head.loss.reduction`)."
            )
        self.reduction = reduction
        self.loss_weight = self.checked('loss_weight', loss_weight)

    def checked(
        self,
        key: str,
        value: float,
        fits: Callable[[float], bool] = math.isfinite,
        wanted: str = 'a finite number',
    ) -> float:
        """Give a numeric setting, or refuse it.

        Args:
            key: Its name.
            value: The setting.
            fits: Says whether a number is possible.
            wanted: What is possible, in words.

        Raises:
            ValueError: It is no number, not finite, or does not fit.
        """
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and fits(value)):
            raise ValueError(
                f'{key}={value!r} of {type(self).__name__} must be {wanted} '
                f'(key `model.head.loss.{key}`).'
            )
        return value

    def validates(self) -> bool:
        """Say whether this is a validation loss, see the class."""
        return not (self.training or torch.is_grad_enabled())

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Give the training loss of each sample, (B,).

        Args:
            logits: Logits (B, C) in float32.
            target: Labels (B,), or probabilities (B, C) in float32.
        """
        raise NotImplementedError

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
            ValueError: The loss cannot take class probabilities, or what
                it needs to know is unknown or does not fit.
        """
        logits = cls_score.float()
        if target.ndim == 2:
            if not self.takes_soft_targets:
                raise ValueError(
                    f'{type(self).__name__} needs one label an image and '
                    f'has probabilities of shape {tuple(target.shape)}, as '
                    'Mixup and CutMix make them: drop '
                    '`model.train_cfg.augments`, or choose another '
                    '`model.head.loss.type`.'
                )
            target = target.float()
        if not self.validates():
            losses = self.sample_losses(logits, target)
        else:
            losses = F.cross_entropy(logits, target, reduction='none')
        weight = None if weight is None else weight.float()
        reduction = reduction_override or self.reduction
        return self.loss_weight * weight_reduce_loss(
            losses, weight, reduction, avg_factor
        )
