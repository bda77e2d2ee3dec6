"""Loading and cropping at once: the pixels of two steps, or near them."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS
from parity_data import ROOT, load
from picture_files import FILES, PHOTO, encode, tagged
from PIL import Image

from lift_mm.datasets import LoadCrop
from lift_mm.datasets.decoding import decode_jpeg
from lift_mm.datasets.transforms import load_crop

from .pipeline import STYLES, box, cases, flip, fused, rgb
from .pipeline import run_steps as run

MODES = ['exact', 'tensor', 'fast']
PACK = dict(type='PackInputs')


@pytest.fixture
def reductions(monkeypatch):
    """Note at which scale each JPEG is decoded."""
    found = []

    def spy(data, reduction, tag):
        found.append(reduction)
        return decode_jpeg(data, reduction, tag)

    monkeypatch.setattr(load_crop, 'decode_jpeg', spy)
    return found


# The published pixels


@pytest.mark.parametrize(
    'case', cases('train_seed') + cases('train_no_mda_seed')
)
def test_published_crops_are_bit_equal(case):
    style, res, image, kind = case.split('/')
    crop = box(int(res[1:]), interpolation=STYLES[style])
    torch.manual_seed(int(kind.split('seed')[1]))
    packed = run(ROOT / 'images' / image, fused(crop), flip(), PACK)
    assert torch.equal(rgb(packed['inputs']), load('transforms')[case])


@pytest.mark.parametrize('case', cases('train_mda'))
def test_published_growing_crops_are_bit_equal(case):
    _, res, image, kind = case.split('/')
    epoch, seed = kind.removeprefix('train_mda_convex_epoch').split('_seed')
    epoch, epochs = map(int, epoch.split('of'))
    crop = box(int(res[1:]), 'MinimalistRandomResizedCrop')
    step = TRANSFORMS.build(fused(crop))
    step.crop.set_epoch(epoch)
    step.crop.set_max_epochs(epochs)
    torch.manual_seed(int(seed))
    packed = run(ROOT / 'images' / image, step, PACK)
    assert torch.equal(rgb(packed['inputs']), load('transforms')[case])


# One step for two


@pytest.mark.parametrize('interpolation', STYLES.values())
@pytest.mark.parametrize('color_type', load_crop.COLOR_TYPES)
@pytest.mark.parametrize('name', FILES)
def test_exact_is_both_steps(name, color_type, interpolation, file):
    path = file(FILES[name])
    crop = box((48, 40), interpolation=interpolation)
    first = dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type=color_type,
    )
    for seed in range(3):
        torch.manual_seed(seed)
        want = run(path, first, crop, flip(), PACK)
        after = torch.rand(1)
        torch.manual_seed(seed)
        got = run(path, fused(crop, color_type=color_type), flip(), PACK)
        assert torch.equal(torch.rand(1), after)
        assert torch.equal(got['inputs'], want['inputs'])
        samples = [one['data_samples'] for one in (got, want)]
        for sample in samples:
            sample.set_metainfo(dict(img_shape=sample.img_shape[:2]))
        assert samples[0].to_dict() == samples[1].to_dict()


def test_other_random_crops(file):
    """MMPretrain's own draws from numpy."""
    crop = dict(type='mmpretrain.RandomResizedCrop', scale=40)
    crop |= dict(backend='pillow', interpolation='lanczos')
    first = dict(type='LoadImageFromFile', imdecode_backend='pillow')
    path = file(FILES['colours'])
    np.random.seed(4)
    want = run(path, first, crop)['img']
    np.random.seed(4)
    assert np.array_equal(run(path, fused(crop))['img'], want)


@pytest.mark.parametrize('mode', ['tensor', 'fast'])
@pytest.mark.parametrize('interpolation', STYLES.values())
@pytest.mark.parametrize('name', FILES)
def test_other_modes_are_close(name, interpolation, mode, file):
    """Whatever the file, each mode shows the same part of it."""
    path = file(FILES[name])
    # Nothing is reduced here, but in a test below.
    crop = box((96, 110), interpolation=interpolation)
    for seed in range(3):
        images = []
        for keys in (dict(mode='exact'), dict(mode=mode, min_detail=1)):
            torch.manual_seed(seed)
            images.append(run(path, fused(crop, **keys))['img'].astype(int))
            images.append(torch.rand(1))  # as many draws
        exact, drawn, other, drawn_too = images
        assert torch.equal(drawn, drawn_too)
        # Dots of black and white show which axis is resized first.
        mean, most = (3, 40) if 'black' in name else (0.5, 8)
        assert np.abs(exact - other).mean() < mean
        assert np.abs(exact - other).max() <= most


@pytest.mark.parametrize('tag', [1, 2, 6])
@pytest.mark.parametrize('reduction', [2, 4, 8])
@pytest.mark.parametrize('corner', range(4))
def test_reduced_crops_show_the_same_part(
    corner, reduction, tag, file, reductions, monkeypatch
):
    # Smooth, so that only a shift could make a difference.
    smooth = PHOTO.resize((40, 27)).resize((640, 424), Image.BICUBIC)
    path = file(tagged(tag, smooth))
    height, width = (640, 424) if tag > 4 else (424, 640)
    high, wide = 320, 240
    place = (height - high) * (corner % 2), (width - wide) * (corner // 2)
    images = []
    for keys in ({}, dict(fast=True, min_detail=1)):
        step = LoadCrop(box((high // reduction, wide // reduction)), **keys)
        monkeypatch.setattr(
            step.crop, 'rand_crop_params', lambda image: (*place, high, wide)
        )
        images.append(run(path, step)['img'].astype(int))
    assert reductions == [reduction]
    exact, fast = images
    shift = np.abs(exact[1:] - exact[:-1]).mean()
    assert np.abs(exact - fast).mean() < 0.2 * shift


@pytest.mark.parametrize(
    'place, reduction',
    [
        ((0, 0, 214, 320), 8),
        ((0, 0, 213, 319), 8),
        ((3, 17, 90, 83), 4),
        ((7, 18, 47, 55), 2),
        ((167, 265, 47, 55), 2),
        ((7, 19, 30, 300), 1),
    ],
)
def test_reduced_crops_end_at_the_nearest_pixels(
    place, reduction, file, monkeypatch
):
    step, seen = LoadCrop(box(20), fast=True, min_detail=1), []

    def places(data, reduction, tag):
        high, wide = (-(-side // reduction) for side in (214, 320))
        seen.append(reduction)
        return np.stack(np.mgrid[:high, :wide], -1)

    def note(image, *_):
        seen.extend([image[0, 0], image[-1, -1] + 1])
        return image

    for name, value in dict(
        decode_jpeg=places, resize=note, planes=lambda image: image
    ).items():
        monkeypatch.setattr(load_crop, name, value)
    monkeypatch.setattr(step.crop, 'rand_crop_params', lambda image: place)
    run(file(encode(PHOTO)), step)
    used, begin, end = seen
    assert used == reduction
    top, left, high, wide = place
    for found, wanted in (
        (begin, (top, left)),
        (end, (top + high, left + wide)),
    ):
        assert np.abs(reduction * found - wanted).max() <= reduction // 2


@pytest.mark.parametrize(
    'part, scale, min_detail, reduction',
    [
        ((100, 100), 50, 1, 2),
        ((99, 400), 50, 1, 1),
        ((400, 99), 50, 1, 1),
        ((199, 400), 50, 1, 2),
        ((200, 400), 50, 1, 4),
        ((419, 619), 50, 1, 8),
        ((419, 619), (50, 80), 1, 4),
        ((99, 99), 50, 0.5, 2),
        ((50, 50), 50, 0.5, 2),
        ((49, 50), 50, 0.5, 1),
        ((419, 619), 1, 1, 8),
        ((1, 1), 1, 0.1, 8),
    ],
)
def test_how_far_a_decoding_is_reduced(
    part, scale, min_detail, reduction, file, reductions, monkeypatch
):
    path = file(encode(PHOTO.resize((640, 427))))
    step = LoadCrop(box(scale), fast=True, min_detail=min_detail)
    monkeypatch.setattr(
        step.crop, 'rand_crop_params', lambda image: (8, 21, *part)
    )
    image = run(path, step)['img']
    assert image.shape == (*step.scale, 3)
    assert reductions == [reduction]


@pytest.mark.parametrize('corner', [0, 1])
def test_a_crop_of_one_pixel(corner, file, monkeypatch):
    path = file(encode(PHOTO.crop((0, 0, 31, 17))))
    step = LoadCrop(box(1), fast=True, min_detail=0.1)
    place = (16 * corner, 30 * corner, 1, 1)
    monkeypatch.setattr(step.crop, 'rand_crop_params', lambda image: place)
    assert run(path, step)['img'].shape == (1, 1, 3)


@pytest.mark.parametrize(
    'name', ['PNG', 'PNG grey, alpha', 'WebP', 'CMYK', 'PNG turned 6']
)
def test_fast_decodes_other_files_in_full(name, file, reductions):
    path, images = file(FILES[name]), []
    for mode in ('tensor', 'fast'):
        torch.manual_seed(0)
        images.append(run(path, fused(box(20), mode=mode))['img'])
    assert np.array_equal(*images)
    assert not reductions


def test_tensor_decodes_in_full(file, reductions):
    run(file(FILES['colours']), fused(box(8), mode='tensor'))
    assert reductions == [1]


@pytest.mark.parametrize('mode', MODES)
def test_sixteen_bits(mode, file):
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    path = file(encode(Image.fromarray(grey), 'PNG'))
    crop = box(64, crop_ratio_range=(1, 1), aspect_ratio_range=(1, 1))
    image = run(path, fused(crop, mode=mode))['img']
    assert np.array_equal(image[..., 0], grey >> 8)
