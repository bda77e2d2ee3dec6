"""Decoding: the pixels of mmcv's loader, and faster ways close to them."""

from io import BytesIO

import cv2
import mmcv
import numpy as np
import pytest
from picture_files import FILES, PHOTO, TAGS, deep, encode, tagged
from PIL import Image, ImageOps

from lift_mm.datasets.decoding import (
    decode_jpeg,
    is_plain_jpeg,
    mirror,
    planes,
    read,
    resize,
    to_array,
    to_rgb,
    turn,
)

PIXELS = np.asarray(PHOTO)


def test_reading(tmp_path):
    (tmp_path / 'file').write_bytes(b'abc')
    for path in (tmp_path / 'file', str(tmp_path / 'file')):
        assert read(path) == read(path, dict(backend='local')) == b'abc'
    with pytest.raises(OSError):
        read('nowhere')
    # Another place than this machine is left to mmengine.
    with pytest.raises((ImportError, ValueError)):
        read('petrel:s3://bucket/file')


def opened(data):
    return Image.open(BytesIO(data))


def mean_difference(one, other):
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize('upright', [True, False])
@pytest.mark.parametrize('name', FILES)
def test_pixels_of_mmcv(name, upright):
    flag = 'color' if upright else 'color_ignore_orientation'
    want = mmcv.imfrombytes(FILES[name], flag, backend='pillow')
    got = to_rgb(opened(FILES[name]), upright)
    assert got.mode == 'RGB'
    assert np.array_equal(to_array(got), want)


def deep_files():
    tiff, png = (encode(Image.fromarray(deep()), k) for k in ('TIFF', 'PNG'))
    swapped = Image.fromarray(deep().astype('>u2'))
    old = opened(png)  # as Pillow read it before version 11
    wide = Image.fromarray(deep().astype(np.int32))
    wide.format = old.format
    return {
        'PNG': old,
        'TIFF': opened(tiff),
        'big-endian': swapped,
        'PNG as 32 bits': wide,
    }


@pytest.mark.parametrize('upright', [True, False])
@pytest.mark.parametrize('name', deep_files())
def test_sixteen_bits_keep_the_upper_eight(name, upright):
    image = deep_files()[name]
    assert image.mode.startswith('I')
    got = np.asarray(to_rgb(image, upright))
    assert np.array_equal(got, np.stack([deep() >> 8] * 3, -1))
    assert 50 < got.mean() < 200


@pytest.mark.parametrize('name', FILES)
def test_plain_jpegs(name):
    image = opened(FILES[name])
    png = image.format != 'JPEG'
    assert is_plain_jpeg(image) == (not png and 'CMYK' not in name)
    if name.startswith('turned'):
        assert turn(image) == int(name[-1])
    elif '6' not in name and '5' not in name:
        assert turn(image) == 1


JPEGS = [name for name in FILES if is_plain_jpeg(opened(FILES[name]))]


@pytest.mark.parametrize('name', JPEGS)
def test_jpegs_of_opencv(name):
    """Both decoders are libjpeg-turbo in the wheels, but need not be."""
    image = opened(FILES[name])
    got = decode_jpeg(FILES[name], tag=turn(image))
    want = to_array(to_rgb(image, True))
    assert got.shape == want.shape
    assert mean_difference(got, want) < 0.5


@pytest.mark.parametrize('reduction', [2, 4, 8])
@pytest.mark.parametrize('name', JPEGS)
def test_reduced_jpegs(name, reduction):
    """They are libjpeg's; a pixel at half size is the mean of four."""
    image = opened(FILES[name])
    tag, (width, height) = turn(image), image.size
    image.draft(None, (width // reduction, height // reduction))
    got = decode_jpeg(FILES[name], reduction, tag)
    want = to_array(to_rgb(image, True))
    assert got.shape == want.shape
    high, wide = got.shape[:2][:: -1 if tag > 4 else 1]
    assert (high, wide) == (-(-height // reduction), -(-width // reduction))
    assert mean_difference(got, want) < 0.5
    if reduction == 2:
        pixels = to_array(to_rgb(opened(FILES[name]), True)).astype(int)
        high, wide = (side // 2 for side in pixels.shape[:2])
        means = pixels[: 2 * high, : 2 * wide].reshape(high, 2, wide, 2, 3)
        assert mean_difference(got[:high, :wide], means.mean((1, 3))) < 1


@pytest.mark.parametrize('tag', TAGS)
def test_every_orientation(tag):
    data = tagged(tag)
    want = np.asarray(ImageOps.exif_transpose(opened(data)))
    assert mean_difference(decode_jpeg(data, 1, tag)[..., ::-1], want) < 0.5
    as_it_is = decode_jpeg(data)[..., ::-1]
    assert mean_difference(as_it_is, np.asarray(opened(data))) < 0.5


@pytest.mark.parametrize('reduction', [1, 2])
@pytest.mark.parametrize('end', [0.3, 0.6, 0.999, -2])
def test_a_file_that_is_cut_off(end, reduction):
    data = encode(PHOTO)
    data = data[: int(end * len(data)) if end > 0 else end]
    with pytest.raises(OSError, match='truncated'):
        decode_jpeg(data, reduction)


def test_bytes_behind_the_end():
    data = encode(PHOTO)
    for behind in (b'\0' * 9, bytes(2 * len(data))):
        assert np.array_equal(decode_jpeg(data + behind), decode_jpeg(data))


@pytest.mark.parametrize('tag', [1, 6])
def test_what_opencv_cannot_read(tag, monkeypatch):
    data = tagged(tag)
    want = to_array(to_rgb(opened(data), True))
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: None)
    assert np.array_equal(decode_jpeg(data, 4, tag), want)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(
    'size', [(60, 60), (17, 90), (150, 90), (99, 300), (400, 400)]
)
@pytest.mark.parametrize('box', [(0, 0, 160, 120), (13, 21, 90, 100)])
def test_resizing_is_pillows_up_to_rounding(box, size, interpolation):
    part = PHOTO.crop(box)
    how = Image.Resampling[interpolation.upper()]
    want = np.asarray(part.resize(size[::-1], how))
    left, top, right, bottom = box
    got = resize(PIXELS.copy()[top:bottom, left:right], size, interpolation)
    assert got.shape == want.shape and got.dtype == np.uint8
    assert mean_difference(got, want) < 0.5
    assert np.abs(got.astype(int) - want).max() <= 6


@pytest.mark.parametrize('height, width', [(5, 7), (1, 4), (4, 1), (1, 1)])
def test_planes_and_mirror(height, width):
    image = np.arange(height * width * 3, dtype=np.uint8)
    image = image.reshape(height, width, 3)
    stored = planes(image)
    assert np.array_equal(stored, image)
    assert stored.transpose(2, 0, 1).flags.c_contiguous
    assert np.shares_memory(planes(stored), stored)
    for one in (image, stored):
        swapped = planes(one, swap=True)
        assert np.array_equal(swapped, image[..., ::-1])
        assert swapped.transpose(2, 0, 1).flags.c_contiguous
    mirrored = mirror(stored)
    assert np.array_equal(mirrored, image[:, ::-1])
    assert mirrored.transpose(2, 0, 1).flags.c_contiguous
    assert np.array_equal(stored, image)  # a copy


@pytest.mark.parametrize(
    'image',
    [
        np.arange(24).reshape(2, 4, 3),
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        np.arange(24, dtype=np.uint8).reshape(4, 6),
        planes(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)) / 2,
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=['int64', 'uint8', 'grey', 'float64', 'empty'],
)
def test_mirror_of_any_array(image):
    assert np.array_equal(mirror(image), image[:, ::-1])
    assert mirror(image).dtype == image.dtype
