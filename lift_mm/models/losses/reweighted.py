"""Cross entropy with a weight of each class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lift_mm.registry import MODELS

from .class_count import ClassCountLoss


class ReweightedLoss(ClassCountLoss):
    """Cross entropy weighted by classes, whose mean weight is 1.

    ``'none'`` and ``'sum'`` give what ``F.cross_entropy(weight=...)`` gives,
    for labels and for class probabilities. ``'mean'`` is PyTorch's weighted
    mean: it divides by the sum of the weights in the batch (of one process).
    Put differently, the weights are divided by their mean in the batch, and
    ``avg_factor`` keeps its meaning, a number of samples. A sample's
    ``weight`` counts in that mean as well, hence samples of weight 0 leave
    no trace.

    The weight of class probabilities is the mixture of the weights, in the
    sum of weights, too. There PyTorch divides by the number of samples
    instead; here labels and one-hot probabilities give the same.
    """

    statistic = 'class_weight'

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        return F.cross_entropy(
            logits, target, weight=self.per_class(logits), reduction='none'
        )

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: int | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Give the loss; see the class, and :meth:`LongTailLoss.forward`."""
        loss = super().forward(
            cls_score, target, weight, avg_factor, reduction_override
        )
        reduction = reduction_override or self.reduction
        if self.validates() or reduction != 'mean':
            return loss
        classes = self.per_class(cls_score)
        if target.ndim == 1:
            classes = classes[target]
        else:
            classes = (target.float() * classes).sum(1)
        if weight is None:
            weight = torch.ones_like(classes)
        weight = weight.float()
        # A batch whose weights are all 0 has the loss 0.
        tiny = torch.finfo(classes.dtype).tiny
        mean = (weight * classes).sum() / weight.sum().clamp_min(tiny)
        return loss / mean.clamp_min(tiny)


@MODELS.register_module()
class ClassBalancedLoss(ReweightedLoss):
    """Weights of the inverse effective number of samples.

    Cui et al., 2019, section 4: ``(1 - beta) / (1 - beta ** count)``. About
    means and class probabilities see :class:`ReweightedLoss`.

    Args:
        beta: 0 gives equal weights, towards 1 they become inverse counts.
        class_counts: Training images of each class; filled in by
            ``ClassInfoHook`` when not given.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: A setting is impossible.
    """

    def __init__(
        self,
        beta: float = 0.9999,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.beta = self.checked(
            'beta', beta, lambda b: 0 <= b < 1, 'at least 0 and less than 1'
        )
        self.take(class_counts)

    def derive(self, counts: Tensor) -> Tensor:
        """Give the weights; 1 - beta cancels out."""
        weights = 1 / (1 - self.beta**counts)
        return weights / weights.mean()


@MODELS.register_module()
class GeneralizedReweightLoss(ReweightedLoss):
    """Weights ``prior ** -exponent``: generalised re-weighting.

    Zhang et al., 2021 (Distribution Alignment). About means and class
    probabilities see :class:`ReweightedLoss`.

    Args:
        exponent: 0 gives equal weights, 1 inverse counts.
        class_counts: Training images of each class; filled in by
            ``ClassInfoHook`` when not given.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.
        prior: Share of each class, instead of counts.

    Raises:
        ValueError: A setting is impossible.
    """

    def __init__(
        self,
        exponent: float = 1.0,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.exponent = self.checked(
            'exponent', exponent, lambda e: e >= 0, 'a number of at least 0'
        )
        self.take(class_counts, prior)

    def derive(self, counts: Tensor) -> Tensor:
        """Give the weights, by logarithms: no power overflows."""
        return len(counts) * (-self.exponent * counts.log()).softmax(0)
