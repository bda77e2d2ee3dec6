"""Classifier heads."""

from .base import LongTailHead
from .cosine import CosineHead
from .linear import LinearHead
from .normed import L2NormHead, LayerNormHead
from .text import TextHead

__all__ = [
    'CosineHead',
    'L2NormHead',
    'LayerNormHead',
    'LinearHead',
    'LongTailHead',
    'TextHead',
]
