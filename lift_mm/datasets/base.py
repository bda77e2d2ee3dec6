"""What every long-tail dataset knows and checks."""

import copy
import os.path as osp
import pickle
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import force_full_init

from lift_mm.clip.names import read_class_names

from .randomness import SharedClock, seeded


def given_classes(
    classes: str | Sequence[str] | None, data_root: str
) -> Sequence[str] | None:
    """Read the dataset key ``classes`` where it is a file.

    Args:
        classes: Names by label, or a text file with one name a line, looked
            for in ``data_root`` first.
        data_root: Root folder of the dataset.

    Returns:
        The names, or None where none are given.
    """
    if not isinstance(classes, str):
        return classes
    inside = osp.join(data_root, classes)
    return read_class_names(inside if osp.isfile(inside) else classes)


class LongTailMixin:
    """Class names, class counts and repeatable random choices.

    To be put before a :class:`mmpretrain.datasets.BaseDataset`. Once the
    dataset is fully initialised, ``metainfo`` holds

    - ``classes``: a tuple with the name of each class, by label;
    - ``class_counts``: a list with the number of images of each class in
      *this* dataset, after ``indices`` and whatever was left out.

    Both hold only str and int, so a checkpoint that carries them loads with
    ``weights_only=True``.

    As soon as :meth:`set_epoch` has been called, the random choices that the
    pipeline makes for a training image depend only on seed, epoch and the
    image's index: not on the number of workers, nor on the images loaded
    before it. Before that (and in test mode) the global random generators
    serve as in any other dataset, because one unchanging epoch would draw
    the same crops for ever. An image that a sampler of lift_mm repeats
    within an epoch looks different each time; one that a dataset wrapper or
    a foreign sampler repeats looks the same.
    """

    def __init__(self, *args, **kwargs) -> None:
        self.clock = SharedClock()
        super().__init__(*args, **kwargs)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, for this process and for running workers.

        Args:
            epoch: Epoch to come, counted from 0.
        """
        self.clock.epoch = epoch

    def set_seed(self, seed: int) -> None:
        """Choose the seed of the pipeline's random choices (0 at first).

        Args:
            seed: A number of at least 0, the same on every rank.
        """
        self.clock.seed = seed

    def __getitem__(self, idx: int) -> dict:
        """Give one sample; see the class for its random choices."""
        epoch = self.clock.epoch
        if self.test_mode or epoch < 0:
            return super().__getitem__(idx)
        key = [self.clock.seed, epoch, int(idx) % len(self)]
        visit = getattr(idx, 'visit', 0)
        if visit:
            key.append(visit)
        # The seed covers the refetch of another image, too, should the
        # pipeline give none for this one.
        with seeded(*key):
            return super().__getitem__(int(idx))

    def full_init(self) -> None:
        """Read the images' list, check it and count the classes.

        Raises:
            ValueError: Names and labels do not fit, or a class of a
                training set has no image.
        """
        if self._fully_initialized:
            return
        super().full_init()
        if not len(self):
            raise ValueError(
                f'indices={self._indices} leaves no image of '
                f'{self._origin()}; name at least one (dataset key '
                '`indices`).'
            )
        self._count_classes()
        self._refuse_empty_classes()

    def filter_data(self) -> list[dict]:
        """List the images, after a look at names and labels.

        Raises:
            ValueError: There is no image, or a label has no name.
        """
        data_list = super().filter_data()
        if not data_list:
            raise ValueError(
                f'{self._origin()} has no image; check the dataset keys '
                '`data_root` and `ann_file`.'
            )
        names = self._class_names()
        for item in data_list:
            if not 0 <= item['gt_label'] < len(names):
                raise ValueError(
                    f'Label {item["gt_label"]}'
                    f'{self._whose(item)} is none of 0..{len(names) - 1}, '
                    f'for there are {len(names)} class names; give as many '
                    'names as there are classes (dataset key `classes`).'
                )
        return data_list

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Give the label of every image, shape ``(N,)``, int64."""
        if self.serialize_data:
            return self._labels.copy()
        return _labels(self.data_list)

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep only some images, and count them anew.

        Args:
            indices: Places of the images to keep, or how many of the first
                (below 0: of the last).
        """
        super().get_subset_(indices)
        self._pick_labels(indices)
        self._count_classes()

    def get_subset(self, indices: Sequence[int] | int) -> 'LongTailMixin':
        """Give a dataset of some of the images, with its own counts.

        Args:
            indices: As for :meth:`get_subset_`.
        """
        subset = super().get_subset(indices)
        # mmengine copies the attributes of all subsets through one memo, so
        # that a second subset would share these with the first.
        subset._metainfo = self.metainfo
        subset.clock = copy.deepcopy(self.clock)
        subset._pick_labels(indices)
        subset._count_classes()
        return subset

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        """Pickle all items into one buffer, as mmengine does, but at once.

        An array for each item, joined afterwards, takes three times the
        time and the memory.
        """
        self._labels = _labels(self.data_list)
        buffer = bytearray()
        ends = np.empty(len(self.data_list), np.int64)
        for place, item in enumerate(self.data_list):
            buffer += pickle.dumps(item, protocol=4)
            ends[place] = len(buffer)
        self.data_list.clear()
        return np.frombuffer(buffer, np.uint8), ends

    def _pick_labels(self, indices: Sequence[int] | int) -> None:
        if not self.serialize_data:
            return
        if not isinstance(indices, int):
            places = np.asarray(indices, dtype=np.int64)
        elif indices < 0:
            places = slice(indices, None)
        else:
            places = slice(indices)
        self._labels = self._labels[places].copy()

    def _class_names(self) -> tuple[str, ...]:
        names = self._metainfo.get('classes')
        if names is None:
            raise ValueError(
                f'{self._origin()} comes without class names; give a list '
                'of names or a file with one name a line (dataset key '
                '`classes`).'
            )
        for name in names:
            if not isinstance(name, str):
                raise TypeError(
                    f'The class name {name!r} is not text; put every name '
                    'in quotes (dataset key `classes`).'
                )
        self._metainfo['classes'] = tuple(map(str, names))
        return self._metainfo['classes']

    def _count_classes(self) -> None:
        size = len(self._metainfo['classes'])
        counts = np.bincount(self.get_gt_labels(), minlength=size)
        self._metainfo['class_counts'] = counts.tolist()

    def _refuse_empty_classes(self) -> None:
        if self.test_mode:
            return
        names = self._metainfo['classes']
        counts = self._metainfo['class_counts']
        empty = [name for name, n in zip(names, counts, strict=True) if not n]
        if empty:
            more = f' and {len(empty) - 5} more' if len(empty) > 5 else ''
            raise ValueError(
                f'{self._origin()} has no training image of '
                f'{", ".join(map(repr, empty[:5]))}{more}; every class '
                'needs one, so add images or take the names out (dataset '
                'keys `classes`, `indices`).'
            )

    def _origin(self) -> str:
        """Say in a message where the images come from."""
        where = self.ann_file or self.data_root
        return f'{type(self).__name__} of {str(where)!r}'

    @staticmethod
    def _whose(item: dict) -> str:
        path = item.get('img_path')
        return f' of {path!r}' if path else ''


def _labels(data_list: Sequence[dict]) -> np.ndarray:
    labels = (item['gt_label'] for item in data_list)
    return np.fromiter(labels, np.int64, len(data_list))
