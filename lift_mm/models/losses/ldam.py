"""Label-distribution-aware margins."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lift_mm.registry import MODELS

from .class_count import ClassCountLoss


@MODELS.register_module()
class LDAMLoss(ClassCountLoss):
    """Cross entropy with a margin that is wider for rarer classes.

    Cao et al., 2019, section 3: the logit of the own class loses
    ``scale * margin``, with a margin proportional to ``count ** -0.25``.
    Logits of a cosine head are scaled already, hence the margin alone is
    multiplied. A margin belongs to one label: class probabilities are
    refused.

    Args:
        max_margin: Margin of the rarest class, as a cosine.
        scale: Factor of the margin; None is the ``scale`` of the head, which
            the head fills in.
        class_counts: Training images of each class; filled in by
            ``ClassInfoHook`` when not given.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: A setting is impossible.
    """

    statistic = 'margins'
    takes_soft_targets = False

    def __init__(
        self,
        max_margin: float = 0.5,
        scale: float | None = None,
        class_counts: Sequence[int] | None = None,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.max_margin = self.checked(
            'max_margin', max_margin, lambda m: m >= 0, 'at least 0'
        )
        if scale is not None:
            self.checked(
                'scale', scale, lambda s: s > 0, 'None or a positive number'
            )
        self.scale = scale
        self.take(class_counts)

    def derive(self, counts: Tensor) -> Tensor:
        """Give the margins."""
        return self.max_margin * (counts / counts.min()) ** -0.25

    def sample_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class.

        Raises:
            ValueError: Neither the config nor the head has given a scale.
        """
        margins = self.per_class(logits)
        if self.scale is None:
            raise ValueError(
                'LDAMLoss has scale=None and a head that gives none; give '
                'the factor of its logits, 1 if there is none (key '
                '`model.head.loss.scale`).'
            )
        own = F.one_hot(target, logits.shape[1]) * margins
        return F.cross_entropy(
            logits - self.scale * own, target, reduction='none'
        )
