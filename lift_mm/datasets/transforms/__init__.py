"""Transforms that MMPretrain lacks."""

from .load_crop import LoadCrop
from .minimalist_crop import (
    MinimalistRandomResizedCrop,
    minimalist_box,
    minimalist_min_area,
)
from .multi_crop import MultiCrop
from .random_crop import RandomFlip, RandomResizedCrop

__all__ = [
    'LoadCrop',
    'MinimalistRandomResizedCrop',
    'MultiCrop',
    'RandomFlip',
    'RandomResizedCrop',
    'minimalist_box',
    'minimalist_min_area',
]
