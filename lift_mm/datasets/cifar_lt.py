"""The long-tailed CIFAR sets."""

import numpy as np
from mmengine import dist
from mmengine.fileio import LocalBackend, get, get_file_backend, join_path
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.datasets.categories import (
    CIFAR10_CATEGORIES,
    CIFAR100_CATEGORIES,
)
from mmpretrain.datasets.utils import download_and_extract_archive

from lift_mm.clip.names import clean_name
from lift_mm.registry import DATASETS
from lift_mm.safe_pickle import Unpickler, settle

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
            self._fetch(root)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(
                f'{type(self).__name__} found no complete '
                f'{self.base_folder!r} in {root!r} and got none from '
                f'{self.url} ({error}); unpack that archive in the folder '
                '`data_root` by hand and set `download=False`.'
            ) from error
        files = self.train_list if self.split == 'train' else self.test_list
        data_list = []
        for name, _ in files:
            data_list += _batch(join_path(root, self.base_folder, name))
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

    def _fetch(self, root: str) -> None:
        """Download the archive, unless its files are there."""
        local = isinstance(get_file_backend(root), LocalBackend)
        if (
            self.download
            and local
            and dist.is_main_process()
            and not self._check_integrity()
        ):
            download_and_extract_archive(
                self.url, root, filename=self.filename, md5=self.tgz_md5
            )
        dist.barrier()
        if not self._check_integrity():
            raise RuntimeError('a file is absent or not the published one')


def _batch(path: str) -> list[dict]:
    """Read a batch, a pickle of Python 2, which mmpretrain would run."""
    try:
        batch = settle(Unpickler(get(path), encoding='latin1').load())
        labels = batch.get('labels') or batch['fine_labels']
        images = batch['data'].reshape(len(labels), 3, 32, 32)
        if images.dtype != np.uint8:
            raise TypeError(f'images of type {images.dtype}')
        labels = [int(label) for label in labels]
    # A crafted file can make any line of the unpickler fail.
    except Exception as error:
        raise ValueError(
            f'{path!r} is refused ({type(error).__name__}: {error}): a batch '
            'of CIFAR holds arrays of bytes, numbers and texts only; unpack '
            'the published archive anew (dataset key `data_root`).'
        ) from error
    images = images.transpose(0, 2, 3, 1)
    return [
        dict(img=image, gt_label=label)
        for image, label in zip(images, labels, strict=True)
    ]


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
