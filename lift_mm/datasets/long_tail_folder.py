"""Any folder with one sub-folder of images for each class."""

import os
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmpretrain.datasets import BaseDataset

from lift_mm.clip.names import clean_name
from lift_mm.registry import DATASETS

from .base import given_classes
from .image_files import ImageFilesMixin
from .longtail import holdout_mask, imbalanced_counts, long_tail_indices
from .paths import files_below

_SPLITS = ('train', 'val', 'test')
IMAGE_ENDINGS = tuple(
    '.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp'.split()
)


@DATASETS.register_module()
class LongTailFolder(ImageFilesMixin, BaseDataset):
    """A folder of images, one sub-folder for each class.

    The images lie in ``data_root/<split>/<class>/`` or, where there are no
    splits, in ``data_root/<class>/``. The label of a class is the rank of
    its folder's name among the training classes, so a test folder may lack
    classes but must not bring new ones. Hidden files and folders and other
    files than images are ignored.

    Args:
        data_root: Folder with the splits or the classes.
        split: Folder in ``data_root``, mostly ``'train'``, ``'val'`` or
            ``'test'``. ``''`` takes ``data_root`` itself as it is.
        imbalance_ratio: Make a long tail: the class of label c of C keeps
            about ``n_max * imbalance_ratio ** (-c / (C - 1))`` images, where
            ``n_max`` is the size of the largest class. By default all
            images are kept. Only for training.
        seed: Seed of the choice which images stay.
        val_fraction: Where there is no folder ``val``: share of each class
            that ``split='val'`` gets and ``split='train'`` lacks. Training
            and validation set need the same value.
        classes: Names by label, or a file with one name a line. By default
            ``class_names.txt`` in ``data_root`` (one name a line in the
            order of the sorted folders), else the folders' names with
            blanks for underscores.
        extensions: Endings of image files, in lower case.
        imbalance_shape: ``'exponential'``, as above, ``'pareto'`` or
            ``'step'``, see :func:`imbalanced_counts`.
        test_mode: Whether this is a test set.
        lazy_init: Whether to put off reading the folder.
        **kwargs: Keys of :class:`mmpretrain.datasets.BaseDataset`, and
            ``check_files``, ``skip_broken`` and ``allow_outside`` as for
            :class:`ImageFilesMixin`.

    Raises:
        ValueError: Folders are missing or do not fit together, or a
            training class has no image.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        imbalance_ratio: float | None = None,
        seed: int = 0,
        val_fraction: float | None = None,
        classes: str | Sequence[str] | None = None,
        extensions: Sequence[str] = IMAGE_ENDINGS,
        imbalance_shape: str = 'exponential',
        test_mode: bool = False,
        **kwargs,
    ) -> None:
        if imbalance_ratio is not None and test_mode:
            raise ValueError(
                f'imbalance_ratio={imbalance_ratio} would thin out a test '
                'set; leave the dataset key `imbalance_ratio` to the '
                'training set.'
            )
        if imbalance_ratio is None and imbalance_shape != 'exponential':
            raise ValueError(
                f'imbalance_shape={imbalance_shape!r} is a long tail of no '
                'ratio; give the dataset key `imbalance_ratio`, too.'
            )
        if val_fraction is not None and not split:
            raise ValueError(
                f'val_fraction={val_fraction} holds nothing out with '
                f'split={split!r}, which takes all images; set the dataset '
                "key `split` to 'train' or 'val'."
            )
        self.split = split
        self.imbalance_ratio = imbalance_ratio
        self.imbalance_shape = imbalance_shape
        self.seed = seed
        self.val_fraction = val_fraction
        self.extensions = tuple(extensions)
        data_root = osp.expanduser(data_root)
        super().__init__(
            ann_file='',
            data_root=data_root,
            classes=given_classes(classes, data_root),
            test_mode=test_mode,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            A dict for each image: ``img_path`` and ``gt_label``.

        Raises:
            ValueError: Folders or images are missing, or do not fit the
                classes.
        """
        root, class_root = self._roots()
        folders = _class_folders(class_root)
        found = _subdirs(root)
        ranks = {folder: rank for rank, folder in enumerate(folders)}
        new = sorted(set(found) - set(folders))
        if new:
            raise ValueError(
                f'{root!r} has the class folder {new[0]!r} ({len(new)} in '
                f'all) that {class_root!r} lacks; train on these classes '
                'too, or take the folders away (dataset key `data_root`).'
            )
        inside = None if self.allow_outside else self.data_root
        samples, empty = [], set(folders)
        for folder in found:
            paths = files_below(osp.join(root, folder), inside)
            images = sorted(filter(self._is_image, paths))
            samples += [(path, ranks[folder]) for path in images]
            if images:
                empty.discard(folder)
        self._refuse_missing_images(root, samples, sorted(empty))
        self._name_classes(folders)
        kept = self._kept([label for _, label in samples])
        return [
            dict(img_path=path, gt_label=label)
            for path, label in (samples[place] for place in kept)
        ]

    def _roots(self) -> tuple[str, str]:
        """Find the folder of the images and that of all classes."""
        root = self.data_root
        if not osp.isdir(root):
            file = ', but a file of that name' if osp.exists(root) else ''
            raise ValueError(
                f'There is no folder {osp.abspath(root)!r}{file}; check the '
                'dataset key `data_root`.'
            )
        if not self.split:
            return root, root
        splits = split_folders(root)
        if self.val_fraction is not None and 'val' in splits:
            raise ValueError(
                f'val_fraction={self.val_fraction} is for folders without '
                f'a validation set, but {root!r} has {splits}; leave the '
                'dataset key `val_fraction` out.'
            )
        held_out = self.split == 'val' and self.val_fraction is not None
        if splits:
            images = osp.join(root, 'train' if held_out else self.split)
            if not osp.isdir(images):
                others = sorted(set(_subdirs(root)) - set(splits))
                raise ValueError(
                    f'{root!r} has no folder {self.split!r}; the dataset '
                    f'key `split` can be one of {splits + others}, and '
                    "'val' where training and validation set both have "
                    '`val_fraction=0.2`.'
                )
            train = osp.join(root, 'train')
            return images, train if 'train' in splits else images
        if self.split != 'train' and not held_out:
            raise ValueError(
                f'{root!r} has no folder {self.split!r}: it is not split; '
                'hold images out with the dataset key `val_fraction=0.2` of '
                "the training and the validation set, which has `split='val'`,"
                " or take all with `split=''`."
            )
        return root, root

    def _refuse_missing_images(
        self, root: str, samples: list, missing: Sequence[str]
    ) -> None:
        """Refuse folders without images, before names are asked for."""
        endings = ', '.join(self.extensions)
        if not samples:
            raise ValueError(
                f'{root!r} has no image: no file in a class folder ends in '
                f'one of {endings} (dataset keys `data_root`, `extensions`).'
            )
        if missing and not self.test_mode:
            more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
            hint = '' if self.split == 'train' else ', or set `test_mode=True`'
            raise ValueError(
                f'{root!r} has no training image of '
                f'{", ".join(map(repr, missing[:5]))}{more}; add files '
                f'ending in one of {endings}, or take the class folder away'
                f'{hint} (dataset keys `data_root`, `extensions`).'
            )

    def _name_classes(self, folders: Sequence[str]) -> None:
        names = self._metainfo.get('classes')
        path = osp.join(self.data_root, 'class_names.txt')
        if names is None and osp.isfile(path):
            names = self.read_names(path)
        elif names is None:
            names = [clean_name(folder) for folder in folders]
        if len(names) != len(folders):
            raise ValueError(
                f'There are {len(names)} class names for {len(folders)} '
                f'class folders in {self.data_root!r}; give one name for '
                f'each folder in sorted order (dataset key `classes` or '
                f'{path!r}).'
            )
        self._metainfo['classes'] = names

    def _is_image(self, path: str) -> bool:
        return path.lower().endswith(self.extensions)

    def _kept(self, labels: list[int]) -> np.ndarray:
        """Choose the images of this split and long tail, by position."""
        kept = np.arange(len(labels))
        if not labels:
            return kept
        labels = np.array(labels)
        if self.val_fraction is not None and self.split in ('train', 'val'):
            held_out = holdout_mask(labels, self.val_fraction)
            kept = kept[held_out if self.split == 'val' else ~held_out]
        if self.imbalance_ratio is not None:
            size = len(self._metainfo['classes'])
            counts = imbalanced_counts(
                self.imbalance_shape,
                int(np.bincount(labels[kept]).max()),
                size,
                self.imbalance_ratio,
            )
            rng = np.random.RandomState(self.seed)
            kept = kept[long_tail_indices(labels[kept], counts, rng)]
        return kept


def split_folders(root: str) -> list[str]:
    """Name the splits of a folder.

    A split holds class folders; a class called "train" holds images.

    Args:
        root: Folder of the dataset.

    Returns:
        Those of ``'train'``, ``'val'`` and ``'test'`` that are there, in
        this order.
    """
    return [split for split in _SPLITS if _subdirs(osp.join(root, split))]


def _subdirs(path: str) -> list[str]:
    if not osp.isdir(path):
        return []
    return sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir() and not entry.name.startswith('.')
    )


def _class_folders(path: str) -> list[str]:
    folders = _subdirs(path)
    if not folders:
        raise ValueError(
            f'{path!r} has no folders; put the images of each class into a '
            'folder of its own (dataset key `data_root`).'
        )
    if {folder.lower() for folder in folders} <= {*_SPLITS, 'valid'}:
        raise ValueError(
            f'{path!r} has the folders {folders}, which are no classes; '
            f'call splits {", ".join(map(repr, _SPLITS))}, and put the '
            'images of each class into a folder of its own in them (dataset '
            'key `data_root`).'
        )
    only = osp.join(path, folders[0])
    if len(folders) == 1 and len(_subdirs(only)) == len(os.listdir(only)) > 0:
        raise ValueError(
            f'{path!r} has one folder with nothing but folders in it; if '
            'those are the classes or the splits, set the dataset key '
            f'`data_root={only!r}`.'
        )
    return folders
