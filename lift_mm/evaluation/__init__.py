"""Metrics for long-tail recognition."""

from .functional import (
    calibration_error,
    geometric_mean,
    group_counts,
    harmonic_mean,
    macro_f1,
    measures,
    most_confused,
    per_class_recall,
    shot_groups,
)
from .long_tail_metric import LongTailMetric

__all__ = [
    'LongTailMetric',
    'calibration_error',
    'geometric_mean',
    'group_counts',
    'harmonic_mean',
    'macro_f1',
    'measures',
    'most_confused',
    'per_class_recall',
    'shot_groups',
]
