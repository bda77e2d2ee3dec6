"""Training crops and flips against the published programs and torchvision."""

import pytest
import torch
from parity_data import ROOT, load
from PIL import Image
from torchvision import transforms

from lift_mm.datasets import RandomFlip, RandomResizedCrop

from .pipeline import STYLES, cases, noise, rgb, run


@pytest.mark.parametrize(
    'case', cases('train_seed') + cases('train_no_mda_seed')
)
def test_published_crops_are_bit_equal(case):
    style, res, image, kind = case.split('/')
    torch.manual_seed(int(kind.split('seed')[1]))
    packed = run(
        ROOT / 'images' / image,
        dict(
            type='lift_mm.RandomResizedCrop',
            scale=int(res[1:]),
            interpolation=STYLES[style],
        ),
        dict(type='lift_mm.RandomFlip'),
        dict(type='PackInputs'),
    )
    assert torch.equal(rgb(packed['inputs']), load('transforms')[case])


@pytest.mark.parametrize('area', [(0.08, 1.0), (0.5, 0.6)])
@pytest.mark.parametrize('aspect', [(3 / 4, 4 / 3), (3.0, 5.0)])
@pytest.mark.parametrize('size', [(40, 53, 3), (3, 90, 3), (31, 31)])
@pytest.mark.parametrize('scale', [16, (9, 14)])
def test_boxes_are_those_of_torchvision(size, scale, area, aspect):
    image = noise(*size)
    ours = RandomResizedCrop(scale, area, aspect)
    theirs = transforms.RandomResizedCrop(scale, area, aspect)
    for seed in range(8):
        torch.manual_seed(seed)
        results = ours(dict(img=image))
        torch.manual_seed(seed)
        want = transforms.functional.pil_to_tensor(
            theirs(Image.fromarray(image))
        )
        crop = torch.tensor(results['img']).reshape(*want.shape[1:], -1)
        assert torch.equal(crop.permute(2, 0, 1), want)
        assert results['img_shape'][:2] == tuple(want.shape[1:])


@pytest.mark.parametrize('prob', [0, 0.3, 1])
def test_flips_are_those_of_torchvision(prob):
    image = noise(4, 6, 3)
    ours, theirs = RandomFlip(prob), transforms.RandomHorizontalFlip(prob)
    flips = []
    for seed in range(40):
        torch.manual_seed(seed)
        results = ours(dict(img=image))
        torch.manual_seed(seed)
        want = theirs(torch.tensor(image).permute(2, 0, 1))
        got = torch.tensor(results['img'].copy()).permute(2, 0, 1)
        assert torch.equal(got, want)
        assert results['flip'] == (results['flip_direction'] == 'horizontal')
        flips.append(results['flip'])
    assert set(flips) == {0: {False}, 0.3: {False, True}, 1: {True}}[prob]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(scale=0), 'scale=0'),
        (dict(scale=(8,)), r'scale=\(8,\)'),
        (dict(scale=2.5), 'scale=2.5'),
        (dict(crop_ratio_range=(0.5, 0.1)), 'crop_ratio_range='),
        (dict(crop_ratio_range=(0, 1)), 'crop_ratio_range='),
        (dict(crop_ratio_range=(0.5, 1.5)), '1 at most'),
        (dict(aspect_ratio_range=(2, 1)), 'aspect_ratio_range='),
        (dict(interpolation='cubic'), "interpolation='cubic'"),
        (dict(interpolation='area'), "interpolation='area'"),
        (dict(backend='PIL'), "backend='PIL'"),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RandomResizedCrop(**{'scale': 8, **kwargs})


def test_flip_refuses():
    with pytest.raises(ValueError, match='prob=1.5'):
        RandomFlip(1.5)
