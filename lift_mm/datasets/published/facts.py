"""The benchmarks that come as lists: where from, how large, which digests.

The counts are those of the lists that the LIFT program uses (Shi et al.,
ICML 2024, section 5.1). OLTR (Liu et al., CVPR 2019) drew ImageNet-LT and
Places-LT; its files hold the same images, labels and order under the folder
names of other downloads. A digest is that of the text in LIFT's spelling
with plain line ends, so it fits both.
"""

from dataclasses import dataclass

_LIFT = (
    'https://github.com/shijxcs/LIFT, folder datasets/ (first published with '
    'OLTR, "Large-Scale Long-Tailed Recognition in an Open World", 2019)'
)


@dataclass(frozen=True)
class ImageFolder:
    """A part of a download, and how its paths may look below the root.

    Args:
        name: What the part is called in messages.
        archive: The file that holds its images.
        forms: Paths with the fields ``{folder}`` (of the class) and
            ``{name}`` (of the file). The first is the spelling of LIFT's
            lists.
        other: Spellings of OLTR's lists, for a download that differs.
            ``{tree}`` is the folder of the class by letter and with
            slashes: ``a/arena/hockey`` for ``arena-hockey``.
    """

    name: str
    archive: str
    forms: tuple[str, ...]
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedList:
    """What must hold for the list of one split; None is not checked.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        file: Name that the dataset class reads.
        lines: Number of images.
        largest: Images of the largest class.
        smallest: Images of the smallest class.
        groups: Classes with many (more than 100), medium (20 to 100) and
            few (fewer than 20) images.
        counts_sha256: SHA-256 of the counts by label, joined by commas.
        md5: MD5 of the text.
        sorted_md5: MD5 of the text with its lines sorted.
        annotations: Official JSON file that gives the same list.
        json_archive: The file that holds ``annotations``.
    """

    split: str
    file: str
    lines: int
    largest: int | None = None
    smallest: int | None = None
    groups: tuple[int, int, int] | None = None
    counts_sha256: str | None = None
    md5: str | None = None
    sorted_md5: str | None = None
    annotations: str | None = None
    json_archive: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its images, its lists, and the config that trains on it.

    Args:
        name: Name on the command line.
        title: Name in the papers.
        stem: What its lists begin with, and what their folder is called.
        classes: Number of classes.
        images: Parts of the download.
        lists: The splits; the first is the training set.
        source: Where the lists come from.
        config: Config that trains on it.
        data_root: Root folder in that config.
        labels: What the number in a list is: ``'rank'`` of the sorted class
            folders, ``'folder'`` for the last part of the folder's name, or
            ``'any'`` number that stands for one folder.
        taxonomy: JSON file of the categories that the dataset reads.
    """

    name: str
    title: str
    stem: str
    classes: int
    images: tuple[ImageFolder, ...]
    lists: tuple[PublishedList, ...]
    source: str
    config: str
    data_root: str
    labels: str = 'any'
    taxonomy: str | None = None


_KAGGLE = 'ILSVRC/Data/CLS-LOC'  # as the Kaggle competition packs it

IMAGENET_LT = Benchmark(
    name='imagenet-lt',
    title='ImageNet-LT',
    stem='ImageNet_LT',
    classes=1000,
    images=(
        ImageFolder(
            name='train',
            archive='ILSVRC2012_img_train.tar',
            forms=(
                'train/{folder}/{name}',
                f'{_KAGGLE}/train/{{folder}}/{{name}}',
            ),
        ),
        ImageFolder(
            name='val',
            archive='ILSVRC2012_img_val.tar',
            forms=(
                'val/{folder}/{name}',
                'val/{name}',
                f'{_KAGGLE}/val/{{folder}}/{{name}}',
                f'{_KAGGLE}/val/{{name}}',
            ),
        ),
    ),
    lists=(
        PublishedList(
            split='train',
            file='ImageNet_LT_train.txt',
            lines=115_846,
            largest=1280,
            smallest=5,
            groups=(385, 479, 136),
            counts_sha256='93782c2e7eda453ae409fed503a27bc8'
            'd430ecb583c7d4b3c3adc93c2887236e',
        ),
        PublishedList(
            split='val',
            file='ImageNet_LT_val.txt',
            lines=20_000,
            largest=20,
            smallest=20,
            md5='ef44f8e43fbc904809a77216042e7498',
            sorted_md5='632fe4d3f97a379b39d4751ea1b1b8ab',
        ),
        PublishedList(
            split='test',
            file='ImageNet_LT_test.txt',
            lines=50_000,
            largest=50,
            smallest=50,
            md5='5f5f97c738923e877c5c78accce6744f',
            sorted_md5='37369baa8b718ba5d2d147f541c6336b',
        ),
    ),
    source=_LIFT,
    config='configs/lift/vit-b16_imagenet-lt.py',
    data_root='data/imagenet',
    labels='rank',
)

PLACES_LT = Benchmark(
    name='places-lt',
    title='Places-LT',
    stem='Places_LT',
    classes=365,
    images=(
        ImageFolder(
            name='train',
            archive='places365standard_easyformat.tar',
            forms=(
                'train/{folder}/{name}',
                'places365_standard/train/{folder}/{name}',
            ),
            other=('data_256/{tree}/{name}',),
        ),
        ImageFolder(
            name='val',
            archive='places365standard_easyformat.tar',
            forms=(
                'val/{folder}/{name}',
                'places365_standard/val/{folder}/{name}',
            ),
            other=('val_256/{name}',),
        ),
    ),
    lists=(
        PublishedList(
            split='train',
            file='Places_LT_train.txt',
            lines=62_500,
            largest=4980,
            smallest=5,
            groups=(131, 163, 71),
            md5='e7795ab1bf428a89f900854127b1e556',
            sorted_md5='7a5ec36c6d68c869a290fe8999f8c802',
        ),
        PublishedList(
            split='val',
            file='Places_LT_val.txt',
            lines=7_300,
            largest=20,
            smallest=20,
            md5='2f6e727cd6c99c7b7fdecc9876875b1b',
            sorted_md5='0e0de78a4c62c6fa69d1c4fdf982cf30',
        ),
        PublishedList(
            split='test',
            file='Places_LT_test.txt',
            lines=36_500,
            largest=100,
            smallest=100,
            md5='1347af35b053bd31cf782256306affe7',
            sorted_md5='1265a5fd064d9e438b59758d78700b3b',
        ),
    ),
    source=_LIFT,
    config='configs/lift/vit-b16_places-lt.py',
    data_root='data/places',
)

INATURALIST2018 = Benchmark(
    name='inaturalist2018',
    title='iNaturalist 2018',
    stem='iNaturalist18',
    classes=8142,
    images=(
        ImageFolder(
            name='train_val2018',
            archive='train_val2018.tar.gz',
            forms=('train_val2018/{folder}/{name}',),
        ),
    ),
    lists=(
        PublishedList(
            split='train',
            file='iNaturalist18_train.txt',
            lines=437_513,
            annotations='train2018.json',
            json_archive='train2018.json.tar.gz',
        ),
        PublishedList(
            split='val',
            file='iNaturalist18_val.txt',
            lines=24_426,
            largest=3,
            smallest=3,
            md5='b7ed52f3854c157c487cc3be9deb8abf',
            sorted_md5='4cb77cdf48f8269faa7647e859d80927',
            annotations='val2018.json',
            json_archive='val2018.json.tar.gz',
        ),
    ),
    source='the official train2018.json and val2018.json',
    config='configs/lift/vit-b16_inaturalist2018.py',
    data_root='data/inaturalist2018',
    labels='folder',
    taxonomy='categories.json',
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (IMAGENET_LT, PLACES_LT, INATURALIST2018)
}
