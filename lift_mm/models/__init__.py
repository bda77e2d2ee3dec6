"""Registered models: thin shells over :mod:`~..tuners` and :mod:`~..clip`."""

from lift_mm.compat import import_mmpretrain_models

import_mmpretrain_models()  # or say what stands in the way

from .classifier import LongTailClassifier  # noqa: E402
from .clip_projection import CLIPProjection  # noqa: E402
from .clip_vit import CLIPViT  # noqa: E402
from .heads import CosineHead  # noqa: E402
from .inits import SemanticInit  # noqa: E402
from .losses import LogitAdjustedLoss  # noqa: E402
from .tta import MeanLogitTTA  # noqa: E402
from .tuned_backbone import TunedBackbone  # noqa: E402

__all__ = [
    'CLIPProjection',
    'CLIPViT',
    'CosineHead',
    'LogitAdjustedLoss',
    'LongTailClassifier',
    'MeanLogitTTA',
    'SemanticInit',
    'TunedBackbone',
]
