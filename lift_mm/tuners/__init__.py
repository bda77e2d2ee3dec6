"""Ways of tuning a little of a frozen net. Plain torch, no runner.

A new method is one file here with a :class:`~.base.Tuner` and a line below.
"""

from .adaptformer import AdaptFormer
from .base import Tuner, TunerModule, attach_tuners, disabled
from .blocks import Block, find_blocks
from .freeze import FrozenBase, freeze
from .state import frozen_keys, learned_parameters

__all__ = [
    'AdaptFormer',
    'Block',
    'FrozenBase',
    'Tuner',
    'TunerModule',
    'attach_tuners',
    'disabled',
    'find_blocks',
    'freeze',
    'frozen_keys',
    'learned_parameters',
]
