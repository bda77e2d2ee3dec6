"""Long-tail datasets and the transforms that go with them."""

from .base import LongTailMixin
from .cifar_lt import CIFAR10LT, CIFAR100LT
from .image_files import ImageFilesMixin
from .imagenet_lt import ImageNetLT
from .long_tail_folder import LongTailFolder
from .long_tail_list import LongTailList
from .longtail import holdout_mask, long_tail_counts, long_tail_indices
from .transforms import MultiCrop

__all__ = [
    'CIFAR100LT',
    'CIFAR10LT',
    'ImageFilesMixin',
    'ImageNetLT',
    'LongTailFolder',
    'LongTailList',
    'LongTailMixin',
    'MultiCrop',
    'holdout_mask',
    'long_tail_counts',
    'long_tail_indices',
]
