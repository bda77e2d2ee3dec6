"""Pictures of a long tail."""

from .count_plot import count_plot

__all__ = ['count_plot']
