"""iNaturalist 2018."""

import os.path as osp

from mmengine.fileio import join_path
from mmengine.logging import MMLogger
from mmengine.utils import is_abs

from lift_mm.registry import DATASETS

from .long_tail_list import LongTailList
from .taxonomy import RANKS, common_names, rank_labels, read_categories


@DATASETS.register_module()
class INaturalist2018(LongTailList):
    """iNaturalist 2018 (Van Horn et al., "The iNaturalist Species
    Classification and Detection Dataset", CVPR 2018): 437,513 training
    images of 8142 species, tested on the 24,426 official validation images,
    three of each species.

    The number in a line of the lists is the category id. The label is
    another one: the rank of the scientific name in sorted order, as in LIFT.
    Coarser classes are numbered by their sorted names, too. ::

        data/inaturalist2018/
        ├── iNaturalist18_train.txt, iNaturalist18_val.txt
        ├── categories.json
        └── train_val2018/Plantae/7291/*.jpg ...

    Args:
        data_root: Root folder of lists and images.
        ann_file: The list, relative to ``data_root``.
        categories: The official ``categories.json``, or annotations that
            hold such entries, relative to ``data_root``.
        rank: ``'species'`` (8142 classes), ``'genus'`` (4401), ``'family'``
            (1118), ``'order'`` (272), ``'class'`` (57), ``'phylum'`` (25)
            or ``'kingdom'`` (6).
        names: ``'scientific'`` or, for species, ``'common'``: the key
            ``common_name`` of the entries, where it is there. The files of
            2018 lack it.
        **kwargs: Keys of :class:`LongTailList`.

    Raises:
        ValueError: ``rank`` or ``names`` is unknown, or the categories are
            missing or do not fit the list.
    """

    def __init__(
        self,
        data_root: str = 'data/inaturalist2018',
        ann_file: str = 'iNaturalist18_train.txt',
        categories: str = 'categories.json',
        rank: str = 'species',
        names: str = 'scientific',
        **kwargs,
    ) -> None:
        if rank not in RANKS:
            raise ValueError(
                f'rank={rank!r} is unknown; the dataset key `rank` can be '
                f'one of {list(RANKS)}.'
            )
        if names not in ('scientific', 'common'):
            raise ValueError(
                f'names={names!r} is unknown; the dataset key `names` can '
                "be 'scientific' or 'common'."
            )
        if names == 'common' and rank != 'species':
            raise ValueError(
                f"names='common' does not fit rank={rank!r}: only species "
                "have common names; set the dataset key `rank='species'` or "
                "`names='scientific'`."
            )
        root, categories = map(osp.expanduser, (data_root, categories))
        if not is_abs(categories):
            categories = join_path(root, categories)
        self.categories = categories
        self.rank = rank
        self.names = names
        super().__init__(ann_file=ann_file, data_root=root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read categories and list, and turn category ids into labels.

        Returns:
            A dict for each image: ``img_path`` and ``gt_label``.

        Raises:
            ValueError: List or categories are missing or damaged, or a
                category of the list is unknown.
        """
        categories = read_categories(self.categories, self.rank)
        names, labels = rank_labels(categories, self.rank)
        if 'classes' not in self._metainfo:
            if self.names == 'common':
                names = self._common(categories)
            self._metainfo['classes'] = names
        data_list = super().load_data_list()
        for item in data_list:
            category = item['gt_label']
            if category not in labels:
                raise ValueError(
                    f'The category {category}{self._whose(item)} is none of '
                    f'the {len(labels)} ids in {self.categories!r}; check '
                    'the dataset keys `ann_file` and `categories`.'
                )
            item['gt_label'] = labels[category]
        return data_list

    def list_hint(self) -> str:
        """Name the release of the lists."""
        return (
            'It is iNaturalist18_train.txt (or _val) of the release that '
            'belongs to "Decoupling Representation and Classifier for '
            'Long-Tailed Recognition".'
        )

    def missing_hint(self, path: str) -> str:
        """Name the archive that holds the image."""
        if 'train_val2018' not in path.replace('\\', '/').split('/'):
            return ''
        return (
            'Training and validation images come from train_val2018.tar.gz '
            'of the iNaturalist 2018 competition.'
        )

    def _common(self, categories: list[dict]) -> list[str]:
        names, missing = common_names(categories)
        if missing == len(names):
            raise ValueError(
                f"names='common', but no entry of {self.categories!r} has a "
                "key 'common_name'; set the dataset key "
                "`names='scientific'` or give annotations with such names "
                '(dataset key `categories`).'
            )
        if missing:
            MMLogger.get_current_instance().warning(
                f'{missing} of {len(names)} species in {self.categories!r} '
                'have no common name and keep the scientific one.'
            )
        return names
