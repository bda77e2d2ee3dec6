"""Ways of tuning a little of a frozen net. Plain torch, no runner.

A new method is one file here with a :class:`~.base.Tuner` and a line below.
"""

from .adapter import Adapter
from .adaptformer import AdaptFormer
from .base import Tuner, TunerModule, attach_tuners, disabled
from .bitfit import BitFit
from .blocks import Block, find_blocks
from .freeze import FrozenBase, freeze
from .full_tuning import FullTuning
from .lora import LoRA
from .masked import MaskedTuning
from .norm_tuning import NormTuning
from .ssf import SSF
from .state import frozen_keys, learned_parameters, learned_parts
from .vpt import VPT

__all__ = [
    'Adapter',
    'BitFit',
    'FullTuning',
    'LoRA',
    'MaskedTuning',
    'NormTuning',
    'SSF',
    'VPT',
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
    'learned_parts',
]
