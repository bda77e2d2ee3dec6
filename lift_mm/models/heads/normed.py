"""Heads with rows of unit length and no scale."""

import torch.nn.functional as F
from mmpretrain.models.heads.margin_head import NormProduct
from torch import Tensor

from lift_mm.registry import MODELS

from .base import LongTailHead, draw_unit_rows


@MODELS.register_module()
class L2NormHead(LongTailHead):
    """``normalize(weight) @ feature``: the feature keeps its length.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        **kwargs: See :class:`LongTailHead`.
    """

    def build_fc(self, in_channels: int, num_classes: int) -> NormProduct:
        """Give a layer that normalises its rows only; unit rows."""
        fc = NormProduct(in_channels, num_classes, feature_norm=False)
        draw_unit_rows(fc.weight)
        return fc


@MODELS.register_module()
class LayerNormHead(L2NormHead):
    """``normalize(weight) @ LayerNorm(feature)``, without affine part.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        **kwargs: See :class:`LongTailHead`.
    """

    def score(self, feature: Tensor) -> Tensor:
        """Give the logits of a feature, (B, D) -> (B, C)."""
        return self.fc(F.layer_norm(feature, feature.shape[-1:], eps=1e-12))
