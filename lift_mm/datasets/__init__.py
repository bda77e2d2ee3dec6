"""Long-tail datasets and the transforms that go with them."""

from . import image_modes
from .base import LongTailMixin
from .cifar_lt import CIFAR10LT, CIFAR100LT
from .image_files import ImageFilesMixin
from .imagenet_lt import ImageNetLT
from .inaturalist2018 import INaturalist2018
from .long_tail_folder import LongTailFolder
from .long_tail_list import LongTailList
from .longtail import holdout_mask, long_tail_counts, long_tail_indices
from .places_lt import PlacesLT
from .randomness import begin_epoch
from .samplers import (
    ClassAwareSampler,
    ClassDownSampler,
    ProgressivelyBalancedSampler,
    SquareRootSampler,
)
from .transforms import (
    LoadCrop,
    MinimalistRandomResizedCrop,
    MultiCrop,
    RandomFlip,
    RandomResizedCrop,
)

__all__ = [
    'CIFAR100LT',
    'CIFAR10LT',
    'ClassAwareSampler',
    'ClassDownSampler',
    'INaturalist2018',
    'ImageFilesMixin',
    'ImageNetLT',
    'LoadCrop',
    'LongTailFolder',
    'LongTailList',
    'LongTailMixin',
    'MinimalistRandomResizedCrop',
    'MultiCrop',
    'PlacesLT',
    'ProgressivelyBalancedSampler',
    'RandomFlip',
    'RandomResizedCrop',
    'SquareRootSampler',
    'begin_epoch',
    'holdout_mask',
    'long_tail_counts',
    'long_tail_indices',
]

image_modes.install()
