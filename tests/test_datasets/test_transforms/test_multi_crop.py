"""Crops for test-time ensembling, and the published test pixels."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import TRANSFORMS
from parity_data import ROOT, load, same_pixels
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import five_crop, ten_crop

from lift_mm.datasets import MultiCrop
from lift_mm.datasets.randomness import seeded

from .pipeline import LOAD, STYLES, cases, noise, rgb, run


def resize(scale, interpolation='bilinear'):
    return dict(
        type='ResizeEdge',
        scale=scale,
        backend='pillow',
        interpolation=interpolation,
    )


@pytest.fixture(scope='module')
def pixels():
    return load('transforms')


@pytest.mark.parametrize('case', cases('test') + cases('plain'))
def test_one_crop_is_bit_equal(case, pixels):
    style, res, image, kind = case.split('/')
    res = int(res[1:])
    scale = res if kind == 'plain' else res * 8 // 7
    packed = run(
        ROOT / 'images' / image,
        resize(scale, STYLES[style]),
        dict(type='CenterCrop', crop_size=res),
        dict(type='PackInputs'),
    )
    assert same_pixels(rgb(packed['inputs']), pixels[case])


@pytest.mark.parametrize('case', cases('tte'))
def test_many_crops_are_bit_equal(case, pixels):
    style, res, image, kind = case.split('/')
    res = int(res[1:])
    expand = int(kind.split('expand')[1].split('_')[0])
    mode = 'ten' if 'tencrop' in kind else 'five'
    packed = run(
        ROOT / 'images' / image,
        resize(res + expand, STYLES[style]),
        dict(type='lift_mm.MultiCrop', crop_size=res, mode=mode),
    )
    crops = torch.stack([rgb(crop) for crop in packed['inputs']])
    if kind.endswith('crops_1_and_4_only'):
        crops = crops[[1, 4]]
    assert same_pixels(crops, pixels[case])


def test_geometry_of_an_oblong_image(tmp_path):
    # SPEC T14: 400 x 300 becomes 330 x 248, not 331 x 248.
    path = tmp_path / 'wide.png'
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(path)
    assert run(path, resize(256))['img'].shape == (256, 341, 3)
    results = run(path, resize(248))
    assert results['img'].shape == (248, 330, 3)
    y, x = np.mgrid[:248, :330]
    results['img'] = np.stack([x % 256, x // 256, y], -1).astype(np.uint8)
    crops = MultiCrop(224)(results)['inputs']
    corners = [
        (int(c[0, 0, 0]) + 256 * int(c[1, 0, 0]), int(c[2, 0, 0]))
        for c in crops
    ]
    assert corners == [(0, 0), (106, 0), (0, 24), (106, 24), (53, 12)]


def test_crops_arrive_as_test_time_augmentation(tmp_path):
    path = ROOT / 'images' / 'china.png'
    samples = [
        run(path, resize(40), dict(type='lift_mm.MultiCrop', crop_size=32))
        for _ in range(3)
    ]
    batch = default_collate(samples)
    assert sorted(batch) == ['data_samples', 'inputs']
    assert [crop.shape for crop in batch['inputs']] == [(3, 3, 32, 32)] * 5
    assert [len(crop) for crop in batch['data_samples']] == [3] * 5
    sample = batch['data_samples'][4][2]
    assert sample.gt_label.tolist() == [3]
    assert sample.img_shape == (32, 32)


def test_mirrored_crops_say_so():
    results = dict(img=np.zeros((8, 8, 3), np.uint8), gt_label=0)
    samples = MultiCrop(8, mode='ten')(results)['data_samples']
    assert [s.get('flip', False) for s in samples] == [False] * 5 + [True] * 5


@pytest.mark.parametrize('mode', ['five', 'ten'])
@pytest.mark.parametrize('crop', [(24, 24), (7, 5), (23, 18)])
@pytest.mark.parametrize('size', [(24, 24), (25, 24), (37, 31), (24, 99)])
@pytest.mark.parametrize('channels', [(), (1,), (3,)])
def test_places_are_those_of_torchvision(size, crop, mode, channels):
    image = noise(*size, *channels)
    chw = torch.tensor(image.reshape(*size, -1)).permute(2, 0, 1)
    want = {'five': five_crop, 'ten': ten_crop}[mode](chw, list(crop))
    crops = MultiCrop(crop, mode=mode)(dict(img=image))['inputs']
    assert len(crops) == len(want)
    assert all(map(torch.equal, crops, want))


def random_crops(image, index, size=16, num_crops=4, seed=0, **kwargs):
    crops = MultiCrop(
        size, mode='random', num_crops=num_crops, seed=seed, **kwargs
    )
    results = dict(img=image, gt_label=1)
    if index is not None:
        results['sample_idx'] = index
    return crops(results)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(40, 53), (40, 53, 3), (5, 9, 3)])
@pytest.mark.parametrize('crop', [16, (16, 11)])
def test_random_crops_are_those_of_torchvision(size, crop, interpolation):
    image = noise(*size)
    want = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                crop, interpolation=transforms.InterpolationMode(interpolation)
            ),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    crops = random_crops(image, 7, crop, 20, 5, interpolation=interpolation)
    with seeded(5, 7):
        expected = [want(Image.fromarray(image)) for _ in range(20)]
    assert all(map(torch.equal, crops['inputs'], expected))
    flips = [sample.flip for sample in crops['data_samples']]
    assert len(flips) == 20 and len(set(flips)) == 2
    shapes = {sample.img_shape for sample in crops['data_samples']}
    assert shapes == {tuple(expected[0].shape[1:])}


def test_random_crops_depend_on_seed_and_image_alone():
    image = noise(40, 53, 3)

    def crops(index, **kwargs):
        torch.rand(3)  # whatever was drawn before
        return torch.stack(random_crops(image, index, **kwargs)['inputs'])

    assert torch.equal(crops(3), crops(3))
    assert torch.equal(crops(3)[:2], crops(3, num_crops=2))
    assert not torch.equal(crops(3), crops(4))
    assert not torch.equal(crops(3), crops(3, seed=1))
    first = crops(3)
    assert all(not torch.equal(a, b) for a, b in zip(first, first[1:]))
    before = torch.get_rng_state()
    random_crops(image, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_crops_of_an_image_without_index():
    """They come from torch's global stream."""
    image = noise(40, 53, 3)
    torch.manual_seed(2)
    first = torch.stack(random_crops(image, None)['inputs'])
    second = torch.stack(random_crops(image, None)['inputs'])
    torch.manual_seed(2)
    again = torch.stack(random_crops(image, None)['inputs'])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(mode='six'), "mode='six'"),
        (dict(mode='random'), 'num_crops=None'),
        (dict(mode='random', num_crops=0), 'num_crops=0'),
        (dict(mode='random', num_crops=2.5), 'num_crops=2.5'),
        (dict(num_crops=5), "num_crops=5 does not fit mode='five'"),
        (dict(interpolation='cubic'), "interpolation='cubic'"),
        (dict(seed=-1), 'seed is -1'),
        (dict(crop_size=0), 'crop_size=0'),
        (dict(crop_size=True), 'crop_size=True'),
        (dict(crop_size=(8, 8, 8)), r'crop_size=\(8, 8, 8\)'),
        (dict(crop_size='24'), "crop_size='24'"),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MultiCrop(**{'crop_size': 24, **kwargs})


def test_image_smaller_than_the_crop():
    with pytest.raises(ValueError, match=r'20 x 30 .* crop of 24 x 24'):
        MultiCrop(24)(dict(img=np.zeros((20, 30, 3), np.uint8)))


def test_orientation_tag_is_ignored_or_honoured(tmp_path):
    path = tmp_path / 'turned.jpg'
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(path, exif=exif)
    assert run(path)['img'].shape == (20, 30, 3)
    honour = {**LOAD, 'color_type': 'color'}
    results = TRANSFORMS.build(honour)(dict(img_path=str(path)))
    assert results['img'].shape == (30, 20, 3)
