"""What a folder or a list of images holds."""

import os.path as osp
from dataclasses import dataclass
from statistics import median

import numpy as np

from lift_mm.datasets import LongTailFolder, LongTailList
from lift_mm.datasets.image_modes import open_image
from lift_mm.datasets.long_tail_folder import split_folders

_SAMPLE = 100  # images whose size is read


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        kind: ``'LongTailFolder'`` or ``'LongTailList'``.
        train: Dataset keys of the training set.
        val: Those of the validation set; None where there is none.
        test: Those of the test set, often the same.
        classes: Names by label.
        counts: Training images of each class.
        side: Median length of the short side of a sample, in pixels.
        broken: One image of that sample that cannot be read, or nothing.
    """

    kind: str
    train: dict
    val: dict | None
    test: dict | None
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    side: int
    broken: str = ''

    @property
    def images(self) -> int:
        """Give the number of training images."""
        return sum(self.counts)


def survey(data: str) -> Survey:
    """Look at images.

    Args:
        data: A folder as for :class:`lift_mm.datasets.LongTailFolder`, with
            splits or without, or a list of training images as for
            :class:`lift_mm.datasets.LongTailList`; lists of other splits
            are found by ``val`` or ``test`` for ``train`` in its name.

    Raises:
        ValueError: There is no such thing, or the dataset refuses it.
    """
    path = osp.expanduser(data)
    if osp.isfile(path):
        kind, splits = LongTailList, _lists(path)
    elif osp.isdir(path):
        kind, splits = LongTailFolder, _folders(path)
    else:
        raise ValueError(
            f'There is neither a folder nor a list {data!r}; give a folder '
            'with one sub-folder of images for each class, or a file with '
            '"path label" lines (`--data`).'
        )
    dataset = kind(**splits['train'])
    paths = [
        dataset.get_data_info(int(place))['img_path']
        for place in np.unique(
            np.linspace(0, len(dataset) - 1, _SAMPLE).round()
        )
    ]
    sides, broken = [], ''
    for image_path in paths:
        try:
            with open_image(image_path) as image:
                sides.append(min(image.size))
        except (OSError, ValueError):
            broken = broken or image_path
    if not sides:
        raise ValueError(
            f'None of {len(paths)} images of {data!r} can be read, '
            f'{broken!r} for one (`--data`).'
        )
    return Survey(
        kind.__name__,
        **splits,
        classes=tuple(dataset.metainfo['classes']),
        counts=tuple(dataset.metainfo['class_counts']),
        side=int(median(sides)),
        broken=broken,
    )


def held_out_share(images: int) -> float:
    """Give the share of images to validate on, where there is no split."""
    return 0.2 if images < 10_000 else 0.1


def _lists(path: str) -> dict:
    folder, name = osp.split(path)

    def other(split: str) -> dict | None:
        renamed = name.replace('train', split)
        known = renamed != name and osp.isfile(osp.join(folder, renamed))
        return dict(data_root=folder, ann_file=renamed) if known else None

    val, test = other('val'), other('test')
    train = dict(data_root=folder, ann_file=name)
    return dict(train=train, val=val or test, test=test or val)


def _folders(path: str) -> dict:
    splits = split_folders(path)
    if splits and 'train' not in splits:
        raise ValueError(
            f'{path!r} has {splits} and no folder "train"; put the training '
            'images there (`--data`).'
        )
    keys = dict(data_root=path)
    if len(splits) > 1:
        val = 'val' if 'val' in splits else 'test'
        test = 'test' if 'test' in splits else 'val'
        chosen = dict(train='train', val=val, test=test)
    else:
        keys['val_fraction'] = held_out_share(len(LongTailFolder(**keys)))
        chosen = dict(train='train', val='val', test='val')
    return {key: dict(keys, split=split) for key, split in chosen.items()}
