"""Cross entropy of logits that the class prior moves."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lift_mm.registry import MODELS

from .class_count import ClassCountLoss


@MODELS.register_module()
class LogitAdjustedLoss(ClassCountLoss):
    """Cross entropy of ``logits + tau * log prior`` (Menon et al., 2021).

    The prior is the share of each class in the training set. It enters the
    training loss only; test logits stay as they are (LIFT, section 4.1).

    Args:
        tau: Weight of the prior; 1 is Bayes-consistent, 0 plain cross
            entropy, and less than 0 favours frequent classes further.
        class_counts: Training images of each class; filled in by
            ``ClassInfoHook`` when not given.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.
        prior: Instead of counts, the share of each class as the loss shall
            see it, e.g. with less of an overwhelming background class;
            positive numbers, which are divided by their sum.

    Raises:
        ValueError: A setting is impossible, or a class has no images, whose
            log prior is infinite.
    """

    statistic = 'log_prior'

    def __init__(
        self,
        tau: float = 1.0,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.tau = self.checked('tau', tau)
        self.take(class_counts, prior)

    def derive(self, counts: Tensor) -> Tensor:
        """Give the log prior."""
        return (counts / counts.sum()).log()

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        adjusted = logits + self.tau * self.per_class(logits)
        return F.cross_entropy(adjusted, target, reduction='none')


@MODELS.register_module()
class BalancedSoftmaxLoss(LogitAdjustedLoss):
    """Balanced Softmax: the logit-adjusted loss with ``tau`` 1.

    Ren et al., 2020, section 3.1; their Meta Sampler is not part of it. Both
    papers of LIFT list it as a loss of its own.

    Args:
        class_counts: See :class:`LogitAdjustedLoss`, as the others.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.
        prior: Share of each class, instead of counts.
    """

    def __init__(
        self,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__(1.0, class_counts, reduction, loss_weight, prior)
