"""Focal loss of a softmax."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lift_mm.registry import MODELS

from .base import LongTailLoss


@MODELS.register_module()
class SoftmaxFocalLoss(LongTailLoss):
    """``(1 - p) ** gamma`` times cross entropy; p is the own class's share.

    Lin et al., 2017, with the softmax of LIFT's experiments and no weight of
    classes; mmpretrain's ``FocalLoss`` is the one of sigmoids. Class
    probabilities give the mixture of the losses of their classes.

    Args:
        gamma: How much less well-classified images count; 0 is cross
            entropy.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: A setting is impossible.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.gamma = self.checked(
            'gamma', gamma, lambda g: g >= 0, 'a number of at least 0'
        )

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        if target.ndim == 1:
            return self._focal(
                F.cross_entropy(logits, target, reduction='none')
            )
        return (target * self._focal(-logits.log_softmax(1))).sum(1)

    def _focal(self, losses: Tensor) -> Tensor:
        # A gamma below 1 has an infinite slope at 0, where losses may be.
        tiny = torch.finfo(losses.dtype).tiny
        rest = (-torch.expm1(-losses)).clamp_min(tiny)
        return rest**self.gamma * losses
