"""Metrics for long-tail recognition."""

from .functional import (
    calibration_error,
    geometric_mean,
    harmonic_mean,
    macro_f1,
    per_class_recall,
    shot_groups,
)
from .long_tail_metric import LongTailMetric

__all__ = [
    'LongTailMetric',
    'calibration_error',
    'geometric_mean',
    'harmonic_mean',
    'macro_f1',
    'per_class_recall',
    'shot_groups',
]
