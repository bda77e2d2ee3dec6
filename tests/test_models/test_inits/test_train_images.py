"""Which images start a head, and how they are cut."""

import parity_data
import pytest
import torch
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS, TRANSFORMS
from test_tuners.tiny_models import dataset, image_folder
from torch.utils.data import Subset, TensorDataset

from lift_mm.models.inits.train_images import (
    TrainImages,
    images_of,
    input_size,
    plain_pipeline,
    recipe_interpolation,
)

IMAGES = sorted((parity_data.ROOT / 'images').glob('*.png'))
PLAIN = [
    (repo, how, key)
    for repo, how in (('v1', 'bilinear'), ('plus', 'bicubic'))
    for key in sorted(parity_data.load('transforms'))
    if key.startswith(f'{repo}/') and key.endswith('/plain')
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture
def data(root):
    return DATASETS.build(dataset(root))


def build(*configs):
    return [TRANSFORMS.build(config) for config in configs]


class Net(torch.nn.Module):
    """A backbone that says for which images it was made, or not."""

    def __init__(self, img_size=None):
        super().__init__()
        self.inner = torch.nn.Identity()
        if img_size is not None:
            self.inner.img_size = img_size


@pytest.fixture(scope='module')
def published():
    return parity_data.load('transforms')


LOAD = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)
LOAD_CROP = dict(
    type='lift_mm.LoadCrop',
    crop=dict(
        type='lift_mm.RandomResizedCrop', scale=24, interpolation='bicubic'
    ),
    mode='fast',
    color_type='color_ignore_orientation',
)


@pytest.mark.parametrize('first', [LOAD, LOAD_CROP], ids=['load', 'crop'])
@pytest.mark.parametrize('repo, how, key', PLAIN, ids=str)
def test_published_pixels(published, repo, how, key, first):
    _, size, name, _ = key.split('/')
    load = build(first)
    steps = plain_pipeline(load, int(size.removeprefix('r')), how)
    steps = [*steps[:1], *build(*steps[1:])]
    path = next(path for path in IMAGES if path.name == name)
    item = dict(img_path=str(path))
    for step in steps:
        item = step(item)
    bgr = published[key].flip(0)
    assert parity_data.same_pixels(item['inputs'], bgr)


def test_there_are_published_pixels():
    assert len(PLAIN) > 8


TORCHVISION = [
    dict(type='NumpyToPIL', to_rgb=False),
    dict(type='torchvision/RandomResizedCrop', size=24),
    dict(type='PILToNumpy', to_bgr=False),
]


@pytest.mark.parametrize(
    'net, steps, size',
    [
        (Net(16), [], 16),
        (Net((16, 16)), [dict(type='RandomResizedCrop', scale=24)], 16),
        (Net(), [dict(type='RandomResizedCrop', scale=24)], 24),
        (Net(), [LOAD_CROP], 24),
        (Net(), TORCHVISION, 24),
        (
            Net(),
            [
                dict(type='Resize', scale=40),
                dict(type='RandomCrop', crop_size=32),
            ],
            32,
        ),
    ],
)
def test_size(net, steps, size):
    assert input_size(net, build(*steps)) == size


def test_unknown_size():
    with pytest.raises(ValueError, match='head.init.img_size'):
        input_size(Net(), build(dict(type='RandomFlip', prob=0.5)))
    with pytest.raises(ValueError, match='16 x 24 .*head.init.pipeline'):
        input_size(Net((16, 24)), [])


@pytest.mark.parametrize(
    'steps, expected',
    [
        ([], 'bilinear'),
        ([LOAD_CROP], 'bicubic'),
        ([dict(type='RandomResizedCrop', scale=24)], 'bilinear'),
        (
            [
                dict(
                    type='RandomResizedCrop',
                    scale=24,
                    backend='pillow',
                    interpolation='bicubic',
                )
            ],
            'bicubic',
        ),
        (TORCHVISION, 'bilinear'),
        (
            [
                dict(
                    type='torchvision/RandomResizedCrop',
                    size=24,
                    interpolation='bicubic',
                )
            ],
            'bicubic',
        ),
    ],
)
def test_interpolation_of_the_recipe(steps, expected):
    assert recipe_interpolation(build(*steps)) == expected


@pytest.mark.parametrize('workers', [0, 2])
def test_no_chance_and_the_training_set_stays(data, workers):
    images = TrainImages(data, Net(16))
    assert images.labels.tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert not data.test_mode and 'RandomFlip' in repr(data.pipeline)
    loader = torch.utils.data.DataLoader(images, 4, num_workers=workers)
    first, again = torch.cat(list(loader)), torch.cat(list(loader))
    assert first.shape == (10, 3, 16, 16) and first.dtype == torch.uint8
    assert torch.equal(first, again)
    # The files have that size: not a pixel changes.
    item = dict(data.get_data_info(7))
    load = data.pipeline.transforms[0]
    pixels = torch.from_numpy(load(item)['img']).permute(2, 0, 1)
    assert torch.equal(first[7], pixels)


def test_wrappers_are_looked_through(data, root):
    data.get_cat_ids = lambda i: [data.get_data_info(i)['gt_label']]
    for wrapped in (
        RepeatDataset(data, times=3),
        ClassBalancedDataset(data, oversample_thr=0.5),
    ):
        assert images_of(wrapped) == images_of(data)
    other = DATASETS.build(dataset(root))
    both = images_of(ConcatDataset([data, other]))
    assert both == images_of(data) + images_of(other)
    assert images_of(Subset(data, [4, 2])) == [(data, 4), (data, 2)]
    fold = KFoldDataset(dataset(root), fold=0, num_splits=5)
    assert len(images_of(fold)) == 8
    images = TrainImages(fold, Net(16))
    assert len(images.labels) == 8
    with pytest.raises(TypeError, match='TensorDataset is no dataset'):
        images_of(TensorDataset(torch.zeros(3)))


def test_identity(data, root, tmp_path):
    digest = TrainImages(data, Net(16)).digest()
    assert (
        TrainImages(DATASETS.build(dataset(root)), Net(16)).digest() == digest
    )
    others = [
        TrainImages(data, Net(24)),
        TrainImages(data, Net(16), interpolation='bicubic'),
        TrainImages(Subset(data, range(9)), Net(16)),
        TrainImages(Subset(data, [1, 0, *range(2, 10)]), Net(16)),
        TrainImages(
            DATASETS.build(dataset(image_folder(tmp_path / 'x'))), Net(16)
        ),
    ]
    found = {digest, *(images.digest() for images in others)}
    assert len(found) == 1 + len(others)


def arrays(labels=(0, 1), pixel=0):
    """A dataset that holds its pixels, as CIFAR does."""

    class Arrays(DATASETS.get('BaseDataset')):
        def load_data_list(self):
            image = torch.full((16, 16, 3), pixel, dtype=torch.uint8).numpy()
            return [dict(img=image, gt_label=label) for label in labels]

    return Arrays(ann_file='', pipeline=[])


def test_pixels_in_memory():
    images = TrainImages(arrays(), Net(8))
    assert images[1].shape == (3, 8, 8)
    digests = {
        TrainImages(arrays(labels, pixel), Net(8)).digest()
        for labels in ((0, 1), (1, 0))
        for pixel in (0, 1)
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    'info, words',
    [
        (dict(img_path='x.png'), 'has the label None'),
        (dict(img_path='x.png', gt_label=[0, 1]), r'label \[0, 1\]'),
        (dict(gt_label=0), 'neither a path `img_path` nor an array'),
    ],
)
def test_images_of_an_unknown_kind(info, words):
    source = arrays()
    source.get_data_info = lambda index: info
    with pytest.raises(TypeError, match=f'{words}.*`model.head.init`'):
        TrainImages(source, Net(8))


def test_wrong_interpolation(data):
    with pytest.raises(ValueError, match="'area' is none of nearest"):
        TrainImages(data, Net(16), interpolation='area')


@pytest.mark.parametrize(
    'pipeline',
    [[dict(type='LoadImageFromFile')], [dict(type='CenterCrop', crop_size=8)]],
)
def test_pipeline_without_an_image(data, pipeline):
    images = TrainImages(data, Net(16), pipeline=pipeline)
    with pytest.raises(ValueError, match='do not give an image'):
        images[0]


def test_own_pipeline(data):
    images = TrainImages(
        data,
        Net((16, 24)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(24, 16)),
            dict(type='PackInputs'),
        ],
    )
    assert images[0].shape == (3, 16, 24)
