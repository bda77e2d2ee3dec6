"""The head of LIFT."""

from mmpretrain.models.heads.margin_head import NormProduct
from torch import Tensor

from lift_mm.registry import MODELS

from .base import LongTailHead, draw_unit_rows


@MODELS.register_module()
class CosineHead(LongTailHead):
    """``scale * cos(weight, feature)``: LIFT's classifier.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        scale: Fixed factor of the cosine (25 in LIFT).
        **kwargs: See :class:`LongTailHead`.

    Raises:
        ValueError: A size that is not positive.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        scale: float = 25.0,
        **kwargs,
    ) -> None:
        self._check_positive('scale', scale, int, float)
        self.scale = scale  # first, for the base hands it to the loss
        super().__init__(num_classes, in_channels, **kwargs)

    def build_fc(self, in_channels: int, num_classes: int) -> NormProduct:
        """Give a layer that normalises both sides; unit rows."""
        fc = NormProduct(in_channels, num_classes)
        draw_unit_rows(fc.weight)
        return fc

    def score(self, feature: Tensor) -> Tensor:
        """Give the logits of a feature, (B, D) -> (B, C)."""
        return self.scale * self.fc(feature)
