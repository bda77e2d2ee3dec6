"""Hooks, loop and optimizer constructor for mmengine's runner."""

from .class_info_hook import ClassInfoHook
from .data_epoch_hook import DataEpochHook
from .merge_hook import MergeHook
from .optim_constructor import TunedOptimWrapperConstructor
from .protocol_hook import ProtocolHook
from .resumable_loop import ResumableEpochLoop
from .tuned_checkpoint_hook import TunedCheckpointHook

__all__ = [
    'ClassInfoHook',
    'DataEpochHook',
    'MergeHook',
    'ProtocolHook',
    'ResumableEpochLoop',
    'TunedCheckpointHook',
    'TunedOptimWrapperConstructor',
]
