"""Hooks, loop and optimizer constructor for mmengine's runner."""

from .class_info_hook import ClassInfoHook
from .optim_constructor import TunedOptimWrapperConstructor
from .resumable_loop import ResumableEpochLoop
from .tuned_checkpoint_hook import TunedCheckpointHook

__all__ = [
    'ClassInfoHook',
    'ResumableEpochLoop',
    'TunedCheckpointHook',
    'TunedOptimWrapperConstructor',
]
