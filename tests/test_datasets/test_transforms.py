"""Pixels of the test pipelines against the published programs."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import TRANSFORMS
from parity_data import ROOT, load
from PIL import Image

from lift_mm.datasets import MultiCrop

STYLES = {'v1': 'bilinear', 'plus': 'bicubic'}
LOAD = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)


def resize(scale, interpolation='bilinear'):
    return dict(
        type='ResizeEdge',
        scale=scale,
        backend='pillow',
        interpolation=interpolation,
    )


def run(path, *transforms):
    """Run a pipeline; give what a collated batch of one would hold."""
    results = dict(img_path=str(path), gt_label=3, sample_idx=0)
    for cfg in (LOAD, *transforms):
        results = TRANSFORMS.build({'_scope_': 'mmpretrain', **cfg})(results)
    return results


def rgb(image):
    return image.flip(0)


def cases(kind):
    names = [n for n in load('transforms') if kind in n.split('/')[-1]]
    return sorted(n for n in names if not n.endswith('f32'))


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
    assert torch.equal(rgb(packed['inputs']), pixels[case])


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
    assert torch.equal(crops, pixels[case])


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


def test_grey_and_rectangular_crops():
    results = dict(img=np.zeros((9, 8), np.uint8))
    crops = MultiCrop((7, 5))(results)['inputs']
    assert [crop.shape for crop in crops] == [(1, 7, 5)] * 5


def test_refusals():
    with pytest.raises(ValueError, match=r'20 x 30 .* crop of 24 x 24'):
        MultiCrop(24)(dict(img=np.zeros((20, 30, 3), np.uint8)))
    with pytest.raises(ValueError, match="mode='six'"):
        MultiCrop(24, mode='six')


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
