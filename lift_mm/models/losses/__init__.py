"""Losses for long-tailed training sets, in mmpretrain's interface.

A new loss is one file here with a :class:`~.base.LongTailLoss` (or a
:class:`~.class_count.ClassCountLoss`) and a line below.
"""

from .base import LongTailLoss
from .class_count import ClassCountLoss
from .focal import SoftmaxFocalLoss
from .lade import LADELoss
from .ldam import LDAMLoss
from .logit_adjusted import BalancedSoftmaxLoss, LogitAdjustedLoss
from .reweighted import ClassBalancedLoss, GeneralizedReweightLoss

__all__ = [
    'BalancedSoftmaxLoss',
    'ClassBalancedLoss',
    'ClassCountLoss',
    'GeneralizedReweightLoss',
    'LADELoss',
    'LDAMLoss',
    'LogitAdjustedLoss',
    'LongTailLoss',
    'SoftmaxFocalLoss',
]
