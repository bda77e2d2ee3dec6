"""Places-LT."""

import os.path as osp
from collections.abc import Iterable

from lift_mm.clip.names import clean_name
from lift_mm.registry import DATASETS

from .long_tail_list import LongTailList

_CLASSES = 365


def folder_names(samples: Iterable[tuple[str, int]], size: int) -> list[str]:
    """Name each class after the folder of its images.

    Args:
        samples: Path and label of every image.
        size: Number of classes.

    Returns:
        ``size`` folder names by label.

    Raises:
        ValueError: A label has two folders or none, or a folder has two
            labels.
    """
    pairs = {
        (osp.basename(osp.dirname(path)), label) for path, label in samples
    }
    folders, labels = {}, {}
    for folder, label in sorted(pairs):
        for one, seen, what in (
            (folder, folders.setdefault(label, folder), f'Label {label}'),
            (label, labels.setdefault(folder, label), f'Folder {folder!r}'),
        ):
            if one != seen:
                raise ValueError(f'{what} goes with {seen!r} and {one!r}')
    missing = sorted(set(range(size)) - folders.keys())
    if missing:
        more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
        raise ValueError(
            f'No image has the label {", ".join(map(str, missing[:5]))}{more}'
        )
    return [folders[label] for label in range(size)]


@DATASETS.register_module()
class PlacesLT(LongTailList):
    """Places-LT (Liu et al., "Large-Scale Long-Tailed Recognition in an
    Open World", CVPR 2019): 62,500 training images in 365 classes of 4980
    to 5 images, tested on the 36,500 validation images of Places365.

    The images are those of ``places365standard_easyformat.tar``, the
    256 x 256 "easy directory" release of Places365-Standard. The class
    names are its folders, with blanks for underscores; a
    ``class_names.txt`` beside the list or the key ``classes`` gives others.
    ::

        data/places/
        ├── Places_LT_train.txt, Places_LT_val.txt, Places_LT_test.txt
        ├── train/airfield/*.jpg ...
        └── val/airfield/*.jpg ...

    Args:
        data_root: Root folder of lists and images.
        ann_file: The list, relative to ``data_root``.
        **kwargs: Keys of :class:`LongTailList`.

    Raises:
        ValueError: Folders and labels of the list do not fit together, and
            no names are given.
    """

    def __init__(
        self,
        data_root: str = 'data/places',
        ann_file: str = 'Places_LT_train.txt',
        **kwargs,
    ) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def default_classes(self, data_list: list[dict]) -> list[str]:
        """Take the names of the folders in the list.

        Args:
            data_list: A dict for each image, with path and label.

        Raises:
            ValueError: A class has several folders or none.
        """
        samples = ((item['img_path'], item['gt_label']) for item in data_list)
        try:
            folders = folder_names(samples, _CLASSES)
        except ValueError as error:
            raise ValueError(
                f'{error} in {self.ann_file!r}, but each of the {_CLASSES} '
                'classes of Places-LT has one folder, which names it; check '
                'the dataset key `ann_file`, or give the names (dataset key '
                f'`classes` or {self._names_file()!r}).'
            ) from error
        return [clean_name(folder) for folder in folders]

    def list_hint(self) -> str:
        """Name the release of the lists."""
        return (
            'It is Places_LT_train.txt (or _val, _test) of the Places-LT '
            'release that belongs to OLTR, "Large-Scale Long-Tailed '
            'Recognition in an Open World".'
        )

    def missing_hint(self, path: str) -> str:
        """Name the archive that holds the image."""
        parts = path.replace('\\', '/').split('/')
        if not {'train', 'val'} & set(parts[-3:-1]):
            return ''
        return (
            'Images come from places365standard_easyformat.tar, the 256x256 '
            '"easy directory" release of Places365-Standard; its folders '
            '`train` and `val` belong there.'
        )
