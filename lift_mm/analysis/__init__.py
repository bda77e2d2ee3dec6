"""What a model learned of a long tail: measures and pictures."""

from .class_conditions import class_conditions
from .condition_plot import condition_plot
from .count_plot import count_plot

__all__ = ['class_conditions', 'condition_plot', 'count_plot']
