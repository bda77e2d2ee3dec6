"""LIFT+'s growing crops against the published program."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from parity_data import ROOT, load, meta
from torch.utils.data import DataLoader

from lift_mm.datasets import (
    MinimalistRandomResizedCrop,
    begin_epoch,
)
from lift_mm.datasets.randomness import seeded
from lift_mm.datasets.transforms import minimalist_box, minimalist_min_area
from test_datasets.test_randomness import Toy

from .pipeline import cases, noise, rgb, run

MIN_AREAS = meta('transforms')['mda_min_scale_per_epoch']
BOXES = meta('transforms')['mda_crops']['rows']
# SPEC T12
ROUNDED = {
    'convex/5': '.08 .10921 .20326 .39148 1',
    'linear/5': '.08 .31 .54 .77 1',
    'concave/5': '.08 .68852 .87674 .97079 1',
    'convex/15': '.08 .08235 .08944 .10137 .11835 .14067 .16877 .20326 .245 '
    '.29529 .35613 .4309 .52613 .65854 1',
}


def crop(scale=8, **kwargs):
    return MinimalistRandomResizedCrop(scale, **kwargs)


def areas(case):
    schedule, epochs = case.split('/')
    return [
        minimalist_min_area(epoch, int(epochs), schedule)
        for epoch in range(int(epochs))
    ]


@pytest.mark.parametrize('case', MIN_AREAS)
def test_published_min_areas(case):
    assert areas(case) == MIN_AREAS[case]


@pytest.mark.parametrize('case', ROUNDED)
def test_published_min_areas_rounded(case):
    expected = [float(number) for number in ROUNDED[case].split()]
    assert [round(area, 5) for area in areas(case)] == expected


@pytest.mark.parametrize('schedule', ['convex', 'linear', 'concave'])
def test_ends_of_the_schedule(schedule):
    area_range = 0.2, 0.7

    def area(epoch, epochs):
        return minimalist_min_area(epoch, epochs, schedule, area_range)

    assert area(0, 1) == area(0, 2) == area(0, 9) == pytest.approx(0.2)
    assert area(1, 2) == area(8, 9) == pytest.approx(0.7)
    # Beyond the last epoch, as in it; a single one is the first.
    assert area(9, 9) == area(100, 9) == area(8, 9)
    assert area(5, 1) == area(0, 1)


@pytest.mark.parametrize('row', BOXES, ids=lambda row: str(row[:4]))
def test_published_boxes(row):
    width, height, seed, min_area, *boxes = row
    torch.manual_seed(seed)
    drawn = [minimalist_box(height, width, min_area) for _ in boxes]
    assert [list(box) for box in drawn] == boxes


def test_published_boxes_of_one_stream():
    # SPEC T13
    torch.manual_seed(0)
    drawn = [minimalist_box(375, 500, area) for area in (0.08,) * 3 + (1,) * 2]
    assert drawn == [
        (87, 95, 278, 278),
        (151, 102, 178, 178),
        (55, 137, 277, 277),
        (0, 56, 375, 375),
        (0, 100, 375, 375),
    ]


def test_generator_of_ones_own():
    torch.manual_seed(4)
    expected = [minimalist_box(37, 50, 0.1) for _ in range(3)]
    before = torch.get_rng_state()
    own = torch.Generator().manual_seed(4)
    drawn = [minimalist_box(37, 50, 0.1, generator=own) for _ in range(3)]
    assert drawn == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('height', [1, 2, 3, 40])
@pytest.mark.parametrize('width', [1, 2, 5, 61])
@pytest.mark.parametrize('min_area', [0.08, 0.5, 1.0])
def test_boxes_are_squares_inside_the_image(height, width, min_area):
    torch.manual_seed(0)
    short = min(height, width)
    corners = set()
    for _ in range(100):
        top, left, high, wide = minimalist_box(height, width, min_area)
        assert 1 <= high == wide <= short
        assert 0 <= top <= height - high and 0 <= left <= width - wide
        least = min(min_area * height * width, short**2)
        assert high >= round(least**0.5)
        corners.add((top, left))
    assert len(corners) > 1 or (min_area == 1 and height == width) or short < 3


@pytest.mark.parametrize('case', cases('train_mda'))
def test_published_crops_are_bit_equal(case):
    _, res, image, kind = case.split('/')
    epoch, seed = kind.removeprefix('train_mda_convex_epoch').split('_seed')
    epoch, epochs = map(int, epoch.split('of'))
    transform = crop(int(res[1:]))
    transform.set_epoch(epoch)
    transform.set_max_epochs(epochs)
    results = run(ROOT / 'images' / image)
    torch.manual_seed(int(seed))
    pixels = torch.tensor(transform(results)['img']).permute(2, 0, 1)
    assert torch.equal(rgb(pixels), load('transforms')[case])


@pytest.mark.parametrize('size', [(9, 14), (30, 20, 3), (1, 1, 3)])
@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_grey_and_rectangular_results(size, backend):
    transform = crop((7, 5), backend=backend)
    begin_epoch_of(transform, 0, 1)
    results = transform(dict(img=noise(*size)))
    assert results['img'].shape == (7, 5, *size[2:])
    assert results['img_shape'][:2] == (7, 5)


def begin_epoch_of(transform, epoch, epochs):
    transform.set_epoch(epoch)
    transform.set_max_epochs(epochs)


def test_max_epochs_of_ones_own():
    transform = crop(max_epochs=5, schedule='linear')
    transform.set_epoch(1)
    assert transform.min_area() == pytest.approx(0.31)
    begin_epoch_of(transform, 2, 50)
    assert transform.min_area() == pytest.approx(0.54)
    begin_epoch_of(transform, 20, 50)
    assert transform.min_area() == pytest.approx(1)


def test_an_epoch_nobody_told():
    results = dict(img=noise(9, 14, 3))
    transform = crop()
    with pytest.raises(ValueError, match='lift_mm.ResumableEpochLoop'):
        transform(results)
    transform.set_epoch(0)  # of how many?
    with pytest.raises(ValueError, match='lift_mm.DataEpochHook'):
        transform(results)
    transform.set_max_epochs(3)
    assert transform(results)['img'].shape == (8, 8, 3)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(schedule='cubic'), "schedule='cubic'.*'convex'"),
        (dict(max_epochs=0), 'max_epochs=0'),
        (dict(max_epochs=2.5), 'max_epochs=2.5'),
        (dict(crop_ratio_range=(0.5, 0.1)), 'crop_ratio_range='),
        (dict(scale=-3), 'scale=-3'),
        (dict(backend='PIL'), "backend='PIL'"),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        crop(**kwargs)


# The way of the epoch into workers


class Boxes(BaseTransform):
    """Gives the boxes themselves."""

    def __init__(self):
        self.crop = crop()

    def transform(self, results):
        image = np.zeros((30, 41, 3), np.uint8)
        return [results['sample_idx'], *self.crop.rand_crop_params(image)]


def boxes(loader):
    return torch.cat([torch.stack(batch, 1) for batch in loader]).tolist()


def expected(seed, epoch, epochs):
    rows = []
    for index in range(12):
        with seeded(seed, epoch, index):
            area = minimalist_min_area(epoch, epochs)
            rows.append([index, *minimalist_box(30, 41, area)])
    return rows


@pytest.mark.parametrize(
    'workers, context', [(0, None), (2, 'fork'), (1, 'spawn')]
)
def test_persistent_workers_see_each_epoch(workers, context):
    dataset = Toy(ann_file='', pipeline=[Boxes()])
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
    )
    for epoch in range(3):
        begin_epoch(dataset, epoch, 3, seed=5)
        assert boxes(loader) == expected(5, epoch, 3)
    # The last epoch has the largest squares, at different places.
    last = np.array(expected(5, 2, 3))
    assert set(last[:, 3]) == {30} and len(set(last[:, 2])) > 3


def test_a_copied_dataset_has_a_clock_of_its_own():
    dataset = Toy(ann_file='', pipeline=[Boxes()])
    begin_epoch(dataset, 0, 3)
    copied = copy.deepcopy(dataset)
    begin_epoch(dataset, 1, 3)
    assert [copied[i] for i in range(12)] == expected(0, 0, 3)
    begin_epoch(copied, 2, 3)
    assert [copied[i] for i in range(12)] == expected(0, 2, 3)
    assert [dataset[i] for i in range(12)] == expected(0, 1, 3)


def test_it_can_be_pickled_and_printed():
    transform = crop(scale=(8, 6), schedule='concave', max_epochs=4)
    begin_epoch_of(transform, 1, 7)
    other = pickle.loads(pickle.dumps(transform))
    assert other.min_area() == transform.min_area()
    for part in ('(8, 6)', "'concave'", 'max_epochs=4', "'bicubic'"):
        assert part in repr(other)


def test_config_name_and_defaults():
    path = ROOT / 'images' / 'china.png'
    with pytest.raises(ValueError, match='nobody has told'):
        run(path, dict(type='lift_mm.MinimalistRandomResizedCrop', scale=8))
