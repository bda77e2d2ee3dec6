"""The plain linear head."""

from torch import nn

from lift_mm.registry import MODELS

from .base import LongTailHead


@MODELS.register_module()
class LinearHead(LongTailHead):
    """``weight @ feature + bias``, LIFT's ``LinearClassifier``.

    Rows start normal with standard deviation ``sqrt(2 / D)``, or as ``init``
    says; the bias starts at zero. Rows of unit length on a feature that is
    not normalised give small logits: expect to need another learning rate
    than a cosine head.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        **kwargs: See :class:`LongTailHead`.
    """

    def build_fc(self, in_channels: int, num_classes: int) -> nn.Linear:
        """Give the layer, Kaiming-normal with zero bias."""
        fc = nn.Linear(in_channels, num_classes)
        nn.init.kaiming_normal_(fc.weight)
        nn.init.zeros_(fc.bias)
        return fc
