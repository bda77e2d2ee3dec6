"""Runner, hooks, loop and optimizer constructor for mmengine."""

from .checkpoint_hook import CheckpointHook
from .class_info_hook import ClassInfoHook
from .data_epoch_hook import DataEpochHook
from .finite_hook import FiniteHook
from .histogram_hook import ParameterHistogramHook
from .merge_hook import MergeHook
from .optim_constructor import TunedOptimWrapperConstructor
from .protocol_hook import ProtocolHook
from .record_hook import RecordHook
from .resumable_loop import ResumableEpochLoop
from .resume_hook import ResumeHook
from .sharded_runner import ShardedRunner
from .sharded_strategy import ShardedStrategy
from .stop_hook import StopHook
from .train_accuracy_hook import TrainAccuracyHook
from .tuned_checkpoint_hook import TunedCheckpointHook

__all__ = [
    'CheckpointHook',
    'ClassInfoHook',
    'DataEpochHook',
    'FiniteHook',
    'MergeHook',
    'ParameterHistogramHook',
    'ProtocolHook',
    'RecordHook',
    'ResumableEpochLoop',
    'ResumeHook',
    'ShardedRunner',
    'ShardedStrategy',
    'StopHook',
    'TrainAccuracyHook',
    'TunedCheckpointHook',
    'TunedOptimWrapperConstructor',
]
