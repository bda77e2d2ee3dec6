"""Label distribution disentangling."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lift_mm.registry import MODELS

from .logit_adjusted import BalancedSoftmaxLoss


@MODELS.register_module()
class LADELoss(BalancedSoftmaxLoss):
    """Balanced Softmax and an estimate that unties logits from the prior.

    Hong et al., 2021: the logits of each class are pulled to the regularised
    Donsker-Varadhan estimate of the log likelihood ratio under a uniform
    label distribution. That estimate belongs to the whole batch (of one
    process): ``'none'`` adds it to the loss of every sample, and weights of
    samples do not enter it. A class without an image in the batch has no
    mean logit there, and that term is 0. As images are compared, a constant
    added to all logits of one image changes the loss. Class probabilities
    are refused: a mixed image belongs to no single class.

    Args:
        weight: Weight of the estimate.
        remine_lambda: Weight of the square within the estimate.
        class_counts: See :class:`LogitAdjustedLoss`, as the others.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.
        prior: Share of each class, instead of counts.
    """

    takes_soft_targets = False

    def __init__(
        self,
        weight: float = 0.1,
        remine_lambda: float = 0.1,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__(class_counts, reduction, loss_weight, prior)
        limits = (lambda value: value >= 0, 'a number of at least 0')
        self.weight = self.checked('weight', weight, *limits)
        self.remine_lambda = self.checked(
            'remine_lambda', remine_lambda, *limits
        )

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        estimate = donsker_varadhan(
            logits, target, self.per_class(logits), self.remine_lambda
        )
        losses = super().sample_losses(logits, target)
        return losses + self.weight * estimate


def donsker_varadhan(
    logits: Tensor, target: Tensor, log_prior: Tensor, remine_lambda: float
) -> Tensor:
    """Give LADE's estimate for a batch, averaged over classes by the prior.

    Args:
        logits: Logits (B, C).
        target: Labels (B,).
        log_prior: Logarithm of the share of each class in training (C,).
        remine_lambda: Weight of the square of the second term.
    """
    batch, size = logits.shape
    prior = log_prior.exp()
    # The mean logit of a class over its own images: as a sum over images,
    # which leaves classes without an image out.
    found = F.one_hot(target, size).sum(0)
    own = logits.gather(1, target[:, None]).squeeze(1)
    first = (prior[target] / found[target] * own).sum()
    # The log mean exponential over the batch, as if classes were balanced.
    # The published program adds 1e-9 to both shares, which is not felt: rare
    # classes, where it would be, count by their share.
    balanced = logits - log_prior - math.log(size)
    second = torch.logsumexp(balanced, 0) - math.log(batch)
    return (prior * (second + remine_lambda * second**2)).sum() - first
