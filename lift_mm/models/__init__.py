"""Registered models: thin shells over :mod:`~..tuners` and :mod:`~..clip`."""

from . import _mmpretrain
from .class_token import ClassToken
from .classifier import LongTailClassifier
from .clip_projection import CLIPProjection
from .clip_resnet import CLIPResNet
from .clip_timm import CLIPTimm
from .clip_vit import CLIPViT
from .heads import CosineHead
from .inits import SemanticInit
from .losses import LogitAdjustedLoss
from .split_act import SplitAct
from .tta import MeanLogitTTA
from .tuned_backbone import TunedBackbone

del _mmpretrain

__all__ = [
    'CLIPProjection',
    'CLIPResNet',
    'CLIPTimm',
    'CLIPViT',
    'ClassToken',
    'CosineHead',
    'LogitAdjustedLoss',
    'LongTailClassifier',
    'MeanLogitTTA',
    'SemanticInit',
    'SplitAct',
    'TunedBackbone',
]
