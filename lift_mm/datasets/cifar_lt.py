"""The long-tailed CIFAR sets."""

import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.datasets.categories import (
    CIFAR10_CATEGORIES,
    CIFAR100_CATEGORIES,
)

from lift_mm.clip.names import clean_name
from lift_mm.registry import DATASETS

from .base import LongTailMixin
from .longtail import imbalanced_counts, long_tail_indices


class _CIFARLT(LongTailMixin):
    """Thins out the training images; to be put before a CIFAR dataset."""

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        imbalance_ratio: float = 100,
        seed: int = 0,
        imbalance_shape: str = 'exponential',
        **kwargs,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(
                f'CIFAR has no split {split!r}; the dataset key `split` can '
                "be 'train' or 'test'."
            )
        self.imbalance_ratio = imbalance_ratio
        self.seed = seed
        self.imbalance_shape = imbalance_shape
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the pickled batches and thin out the training images.

        Returns:
            A dict for each image: ``img`` (uint8, RGB, shape
            ``(32, 32, 3)``) and ``gt_label``.
        """
        root = self.data_prefix['root']
        try:
            data_list = super().load_data_list()
        except (OSError, RuntimeError, AssertionError) as error:
            raise RuntimeError(
                f'{type(self).__name__} found no complete '
                f'{self.base_folder!r} in {root!r} and got none from '
                f'{self.url} ({error}); unpack that archive in the folder '
                '`data_root` by hand and set `download=False`.'
            ) from error
        if self.split == 'test':
            return data_list
        size = len(self._class_names())
        counts = imbalanced_counts(
            self.imbalance_shape,
            len(data_list) // size,
            size,
            self.imbalance_ratio,
        )
        labels = [item['gt_label'] for item in data_list]
        rng = np.random.RandomState(self.seed)
        return [data_list[i] for i in long_tail_indices(labels, counts, rng)]


@DATASETS.register_module()
class CIFAR100LT(_CIFARLT, CIFAR100):
    """CIFAR-100-LT: an exponential long tail of CIFAR-100's training images.

    With ``seed=0`` it holds the very images, in the very order, that LIFT
    and LDAM-DRW (Cao et al., 2019) train on: 10,847, 12,608 or 19,573 for
    an imbalance ratio of 100, 50 or 10. ``split='test'`` is the whole
    balanced test set. Images are RGB: ``to_rgb=False`` in the preprocessor.

    Args:
        data_root: Folder that holds or gets ``cifar-100-python``.
        split: ``'train'`` or ``'test'``.
        imbalance_ratio: Size of the largest class over the smallest; 1
            keeps all images.
        seed: Seed of the choice which images stay.
        imbalance_shape: ``'exponential'``, ``'pareto'`` or ``'step'``, see
            :func:`imbalanced_counts`.
        **kwargs: Keys of :class:`mmpretrain.datasets.CIFAR100`
            (``download``, ``pipeline``, ``test_mode`` ...).

    Raises:
        RuntimeError: The data are neither there nor can be downloaded.
        ValueError: ``split`` or ``imbalance_ratio`` is out of range.
    """

    METAINFO = {'classes': tuple(map(clean_name, CIFAR100_CATEGORIES))}


@DATASETS.register_module()
class CIFAR10LT(_CIFARLT, CIFAR10):
    """CIFAR-10-LT: as :class:`CIFAR100LT`, with ``cifar-10-batches-py``."""

    METAINFO = {'classes': tuple(map(clean_name, CIFAR10_CATEGORIES))}
