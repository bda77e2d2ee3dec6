"""Images and labels from a text list."""

import os.path as osp
from collections.abc import Sequence

from mmengine.fileio import LocalBackend, exists, get_file_backend, get_text
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset

from lift_mm.registry import DATASETS

from .base import given_classes
from .image_files import ImageFilesMixin
from .paths import refuse_leaving, refuse_outside


@DATASETS.register_module()
class LongTailList(ImageFilesMixin, BaseDataset):
    """A long-tail dataset from a list with one ``path label`` a line.

    The label is what stands behind the last blank, so paths may hold
    blanks. Empty lines are ignored. ImageNet-LT, Places-LT and many others
    come as such lists. A line that comes twice counts twice, with a warning.

    Args:
        ann_file: The list, relative to ``data_root``.
        data_root: Root folder of list and images.
        data_prefix: Folder in ``data_root`` that the paths start from.
        classes: Names by label, or a file with one name a line. By default
            ``class_names.txt`` beside the list.
        pipeline: Transforms.
        test_mode: Whether this is a test set. Only a training set must have
            an image of every class.
        check_files: ``'sample'``, ``'all'`` or ``'none'``: how many images
            to look for at construction.
        skip_broken: Whether to decode all images once and leave out the
            broken ones.
        **kwargs: ``allow_outside``, see :class:`ImageFilesMixin`, and keys
            of :class:`mmpretrain.datasets.BaseDataset` (``indices``,
            ``lazy_init``, ``serialize_data`` ...).

    Raises:
        ValueError: The list is missing, has a line of another form or two
            labels for one image, names are missing or do not fit the
            labels, images are missing or lie outside of the root folder.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        classes: str | Sequence[str] | None = None,
        pipeline: Sequence = (),
        test_mode: bool = False,
        check_files: str = 'sample',
        skip_broken: bool = False,
        **kwargs,
    ) -> None:
        data_root = osp.expanduser(data_root)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            classes=given_classes(classes, data_root),
            pipeline=pipeline,
            test_mode=test_mode,
            check_files=check_files,
            skip_broken=skip_broken,
            **kwargs,
        )

    def list_hint(self) -> str:
        """Say where a missing list comes from: a sentence, or nothing."""
        return ''

    def load_data_list(self) -> list[dict]:
        """Read the list.

        Returns:
            A dict for each image: ``img_path`` and ``gt_label``.

        Raises:
            ValueError: The list is missing, empty or damaged, or leaves the
                root folder.
        """
        if not self.ann_file or not exists(self.ann_file):
            raise ValueError(
                f'There is no list {self.ann_file!r} of images and labels; '
                'check the dataset keys `ann_file` and `data_root`. '
                f'{self.list_hint()}'.rstrip()
            )
        # Joined for each folder, not for maybe half a million images.
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        folders = {}
        data_list = []
        lines = self._lines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            path, label = self._parse(line, number)
            folder, slash, name = path.rpartition('/')
            folder += slash
            if folder not in folders:
                if not self.allow_outside:
                    self._refuse_outside(path, number)
                folders[folder] = backend.join_path(self.img_prefix, folder)
            path = folders[folder] + name
            data_list.append(dict(img_path=path, gt_label=label))
        if len({item['img_path'] for item in data_list}) < len(data_list):
            self._judge_repeats(data_list, lines)
        if 'classes' not in self._metainfo:
            path = self._names_file()
            self._metainfo['classes'] = (
                self.read_names(path)
                if osp.isfile(path)
                else self.default_classes(data_list)
            )
        return data_list

    def default_classes(self, data_list: list[dict]) -> Sequence[str]:
        """Name the classes where neither the config nor a file does.

        Args:
            data_list: What :meth:`load_data_list` has read.

        Returns:
            Names by label.

        Raises:
            ValueError: The list does not tell the names.
        """
        raise ValueError(
            f'The list {self.ann_file!r} holds no class names; give them '
            'as a list or a file (dataset key `classes`), or write '
            f'{self._names_file()!r} with one name a line in label order.'
        )

    def _refuse_outside(self, path: str, number: int) -> None:
        refuse_leaving(path, f'{self.ann_file!r}, line {number}')
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        if isinstance(backend, LocalBackend):
            root = self.img_prefix or '.'
            refuse_outside(osp.dirname(osp.join(root, path)), root)

    def _lines(self) -> list[str]:
        try:
            text = get_text(self.ann_file)
        except UnicodeDecodeError as error:
            raise ValueError(
                f'The list {self.ann_file!r} is not UTF-8 text ({error}); '
                'save it as UTF-8 (dataset key `ann_file`).'
            ) from error
        return text.removeprefix('\ufeff').split('\n')

    def _parse(self, line: str, number: int) -> tuple[str, int]:
        path, *label = line.strip().rsplit(maxsplit=1)
        # Longer ones are no labels, and Python refuses to read very long ones.
        digits = label[0] if label and len(label[0]) <= 18 else ''
        if not digits.isdecimal():
            raise ValueError(
                f'{self.ann_file!r}, line {number}, is '
                f'{line.strip()[:200]!r}, but each line must be a path, a '
                'blank and a whole number of at least 0, the label (dataset '
                'key `ann_file`).'
            )
        return path, int(digits)

    def _names_file(self) -> str:
        return osp.join(osp.dirname(self.ann_file), 'class_names.txt')

    def _judge_repeats(self, data_list: list[dict], lines: list[str]) -> None:
        """Refuse two labels for one image; warn of equal lines."""
        numbers = [n for n, line in enumerate(lines, 1) if line.strip()]
        first, repeats = {}, []
        for number, item in zip(numbers, data_list, strict=True):
            path, label = item.values()
            before, known = first.setdefault(path, (number, label))
            if label != known:
                raise ValueError(
                    f'{self.ann_file!r} gives {path!r} the label {known} in '
                    f'line {before} and {label} in line {number}; take one '
                    'of the lines out (dataset key `ann_file`).'
                )
            if before != number:
                repeats.append((path, before, number))
        path, before, number = repeats[0]
        MMLogger.get_current_instance().warning(
            f'{self.ann_file!r} names {len(repeats)} images again that stand '
            f'in an earlier line, first {path!r} of line {before} in line '
            f'{number}; all lines are kept and count.'
        )
