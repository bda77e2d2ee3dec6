"""Registered models: thin shells over :mod:`~..tuners` and :mod:`~..clip`."""

from . import _mmpretrain
from .class_token import ClassToken
from .classifier import LongTailClassifier
from .clip_adapter import CLIPAdapter
from .clip_projection import CLIPProjection
from .clip_resnet import CLIPResNet
from .clip_text import CLIPText
from .clip_timm import CLIPTimm
from .clip_vit import CLIPViT
from .heads import (
    CosineHead,
    L2NormHead,
    LayerNormHead,
    LinearHead,
    TextHead,
)
from .inits import ClassMeanInit, LinearProbeInit, SemanticInit
from .jpeg_preprocessor import JPEGDataPreprocessor
from .losses import (
    BalancedSoftmaxLoss,
    ClassBalancedLoss,
    GeneralizedReweightLoss,
    LADELoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SoftmaxFocalLoss,
)
from .prompts import CoOp
from .split_act import SplitAct
from .tta import MeanLogitTTA
from .tuned_backbone import TunedBackbone

del _mmpretrain

__all__ = [
    'BalancedSoftmaxLoss',
    'CLIPAdapter',
    'CLIPProjection',
    'CLIPResNet',
    'CLIPText',
    'CLIPTimm',
    'CLIPViT',
    'ClassBalancedLoss',
    'ClassMeanInit',
    'ClassToken',
    'CoOp',
    'CosineHead',
    'JPEGDataPreprocessor',
    'L2NormHead',
    'LayerNormHead',
    'LinearHead',
    'LinearProbeInit',
    'GeneralizedReweightLoss',
    'LADELoss',
    'LDAMLoss',
    'LogitAdjustedLoss',
    'LongTailClassifier',
    'MeanLogitTTA',
    'SemanticInit',
    'SoftmaxFocalLoss',
    'SplitAct',
    'TextHead',
    'TunedBackbone',
]
