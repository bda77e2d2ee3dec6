"""Shrunken images look like the originals, to every reader."""

import os
from io import BytesIO

import mmcv
import numpy as np
import pytest
from mmpretrain.datasets.transforms import ResizeEdge
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin

from lift_mm.datasets.shrink import find_files, shrink_file, shrunken

SIZE = (90, 60)
ORIENTATION = ExifTags.Base.Orientation
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def waves(mode='RGB', size=SIZE):
    """Draw a smooth picture, with smooth transparency where it has any."""
    x, y = np.meshgrid(*(np.linspace(0, 1, n) for n in size))
    bands = [x, y, 1 - x, 0.5 + np.sin(6 * y) / 2]
    stacked = (np.stack(bands, -1) * 255).round().astype(np.uint8)
    if mode == 'I;16':
        return Image.fromarray((x * 65535).astype(np.uint16))
    if mode in ('RGBA', 'CMYK'):
        return Image.fromarray(stacked, mode)
    if mode == 'LA':
        return Image.fromarray(stacked[..., [0, 3]], 'LA')
    return Image.fromarray(stacked[..., :3]).convert(mode)


def save(image, kind, **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def load(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def read(data, flag='color_ignore_orientation'):
    """Decode as the pipelines do."""
    pixels = mmcv.imfrombytes(data, flag=flag, backend='pillow')
    return Image.fromarray(np.ascontiguousarray(pixels))


@pytest.mark.parametrize(
    'size, small',
    [
        ((90, 60), (48, 32)),
        ((60, 90), (32, 48)),
        ((61, 61), (32, 32)),
        ((500, 333), (48, 32)),
        ((33, 1000), (32, 969)),
        ((90, 32), None),
        ((20, 90), None),
    ],
)
def test_size_is_that_of_the_test_pipeline(size, small):
    data = shrunken(save(waves(size=size), 'PNG'), 32)
    if small is None:
        assert data is None
        return
    assert load(data).size == small
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    resized = ResizeEdge(32)(dict(img=pixels))['img']
    assert resized.shape[1::-1] == small


@pytest.mark.parametrize(
    'mode, kind, becomes, error',
    [
        ('RGB', 'JPEG', 'RGB', 2),
        ('L', 'JPEG', 'L', 2),
        ('CMYK', 'JPEG', 'CMYK', 2),
        ('RGB', 'WEBP', 'RGB', 2),
        ('RGB', 'PNG', 'RGB', 1),
        ('L', 'PNG', 'L', 1),
        ('LA', 'PNG', 'LA', 1),
        ('RGBA', 'PNG', 'RGBA', 1),
        ('P', 'PNG', 'RGB', 3),
        ('1', 'PNG', 'L', 20),
        ('RGB', 'BMP', 'RGB', 1),
        ('L', 'PPM', 'L', 1),
        ('RGB', 'TIFF', 'RGB', 1),
        ('CMYK', 'TIFF', 'CMYK', 1),
    ],
)
def test_readers_see_the_same(mode, kind, becomes, error):
    data = save(waves(mode), kind)
    copy = shrunken(data, 30)
    image = load(copy)
    assert (image.format, image.mode) == (kind, becomes)
    expected = read(data).resize((45, 30), Image.Resampling.BICUBIC)
    difference = np.abs(np.subtract(read(copy), expected, dtype=float))
    assert difference.mean() < error


def test_sixteen_bits_stay():
    copy = np.array(load(shrunken(save(waves('I;16'), 'PNG'), 30)))
    assert copy.dtype == np.uint16
    expected = np.linspace(0, 65535, 90).reshape(45, 2).mean(1)
    assert np.abs(copy[15] - expected)[2:-2].max() < 2


def test_colours_under_transparency_stay():
    image = Image.new('RGBA', SIZE, (200, 100, 50, 0))
    copy = shrunken(save(image, 'PNG'), 30)
    assert load(copy).getcolors() == [(45 * 30, (200, 100, 50, 0))]
    palette = Image.new('P', SIZE, 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    data = save(palette, 'PNG', transparency=1)
    copy = load(shrunken(data, 30))
    assert copy.getcolors() == [(45 * 30, (200, 100, 50, 0))]
    # A transparent colour is one of pixels that are no more.
    data = save(waves('RGB'), 'PNG', transparency=(0, 0, 255))
    assert 'transparency' not in load(shrunken(data, 30)).info


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('turn', [1, 3, 6, 8])
def test_orientation_is_left_to_the_reader(kind, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    exif[ExifTags.Base.Make] = 'camera' * 999
    data = save(waves(), kind, exif=exif)
    copy = shrunken(data, 30)
    assert len(copy) < len(data)
    image = load(copy)
    assert image.size == (45, 30)
    assert image.getexif().get(ORIENTATION, 1) == turn
    for flag in ('color', 'color_ignore_orientation'):
        before = read(data, flag)
        after = read(copy, flag)
        assert (after.width > after.height) == (before.width > before.height)
        expected = before.resize(after.size, Image.Resampling.BICUBIC)
        difference = np.subtract(after, expected, dtype=float)
        assert np.abs(difference).mean() < 3


def test_orientation_of_tiff_is_applied_by_its_reader():
    data = save(waves(), 'TIFF', exif={ORIENTATION: 6})
    before, after = load(data), load(shrunken(data, 30))
    assert before.size == (60, 90) and after.size == (30, 45)
    again = ImageOps.exif_transpose(after)
    expected = before.resize((30, 45), Image.Resampling.BICUBIC)
    assert np.abs(np.subtract(again, expected, dtype=float)).max() <= 1


def test_damaged_metadata_do_not_matter():
    exif = b'Exif\0\0XX*\0garbage'
    copy = load(shrunken(save(waves(), 'JPEG', exif=exif), 30))
    assert copy.size == (45, 30) and 'exif' not in copy.info


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_profile_stays(kind):
    data = save(waves(), kind, icc_profile=PROFILE)
    assert load(shrunken(data, 30)).info['icc_profile'] == PROFILE


def test_quality():
    rng = np.random.default_rng(0)
    data = save(
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)), 'JPEG'
    )
    sizes = [len(shrunken(data, 30, quality)) for quality in (50, 75, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize('side, factor', [(30, 8), (60, 4), (120, 2)])
def test_large_jpegs_are_decoded_small(monkeypatch, side, factor):
    rng = np.random.default_rng(0)
    pixels = np.array(waves(size=(720, 480)).quantize(8).convert('RGB'))
    grain = rng.integers(-9, 10, (480, 720, 1))
    image = Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))
    data = save(image, 'JPEG', quality=95)
    seen = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def watched(image, *args):
        found = draft(image, *args)
        seen.append(image.size)
        return found

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, 'draft', watched)
    fast = load(shrunken(data, side))
    # Twice the pixels of the copy or more are left for filtering.
    assert seen == [(720 // factor, 480 // factor)]
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, 'draft', lambda *args: None
    )
    exact = load(shrunken(data, side))
    assert fast.size == exact.size == (side * 3 // 2, side)
    assert np.abs(np.subtract(fast, exact, dtype=float)).mean() < 2


def test_reduced_decoding_shifts_nothing():
    # 91 x 61 blocks of 8 pixels hold a picture of 90.1 x 60.1.
    image = waves(size=(721, 481)).getchannel('R')
    copy = load(shrunken(save(image, 'JPEG', quality=100), 30, 100))
    expected = image.resize(copy.size, Image.Resampling.BICUBIC)
    assert np.abs(np.subtract(copy, expected, dtype=float)).mean() < 0.5


def test_first_picture_of_a_camera_stays():
    data = save(
        waves(), 'MPO', save_all=True, append_images=[Image.new('RGB', SIZE)]
    )
    assert load(data).format == 'MPO'
    copy = shrunken(data, 30)
    assert load(copy).format == 'JPEG'
    expected = read(data).resize((45, 30))
    assert np.abs(np.subtract(read(copy), expected, dtype=float)).mean() < 3


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match='GIF files are not written'):
        shrunken(save(waves('P'), 'GIF'), 30)


def found(source, target):
    return list(find_files(str(source), str(target)))


def test_files_behind_links_are_found(tmp_path):
    source, other = tmp_path / 'source', tmp_path / 'other'
    for path in (source / 'b/2.png', source / 'a/1.png', other / '3.png'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (source / 'empty').mkdir()
    (source / 'linked').symlink_to(other)
    (source / '0.txt').symlink_to(other / '3.png')
    (source / 'gone.png').symlink_to(other / 'gone.png')
    assert found(source, tmp_path / 'target') == [
        '0.txt',
        'a/1.png',
        'b/2.png',
        'empty',
        'gone.png',
        'linked/3.png',
    ]


@pytest.mark.parametrize(
    'link, to, target, said',
    [
        (None, None, 'source', 'the same or lie in each other'),
        (None, None, 'source/a', 'the same or lie in each other'),
        (None, None, 'source/new/er', 'the same or lie in each other'),
        (None, None, '.', 'the same or lie in each other'),
        ('target', 'source', 'target/x', 'the same or lie in each other'),
        ('source/x', 'target', 'target', 'the same or lie in each other'),
        ('source/x', 'target', 'target/y', 'the same or lie in each other'),
        ('source/a/x', 'source', 'target', "source/a/x' is a link to a"),
        ('target/a', 'source/a', 'target', "'a' in DST .* is a link"),
    ],
)
def test_circles_are_refused(tmp_path, link, to, target, said):
    (tmp_path / 'source/a').mkdir(parents=True)
    (tmp_path / 'source/a/1.png').touch()
    if link != 'target':
        (tmp_path / 'target').mkdir()
    if link:
        (tmp_path / link).symlink_to(tmp_path / to)
    with pytest.raises(ValueError, match=said):
        found(tmp_path / 'source', tmp_path / target)


def test_changed_files_are_copied_again(tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'target'
    source.mkdir()
    path = source / 'list.txt'
    path.write_text('a.png 0\n')

    def run(**options):
        options = dict(source=str(source), target=str(target), **options)
        return shrink_file('list.txt', short_side=30, **options).kind

    assert [run(), run(), run(force=True)] == ['kept', 'there', 'kept']
    path.write_text('b.png 0\n')
    older = path.stat().st_mtime_ns - 10**10  # as an archive restores it
    os.utime(path, ns=(older, older))
    assert [run(), run()] == ['kept', 'there']
    copy = target / 'list.txt'
    assert copy.read_text() == 'b.png 0\n'

    # A link to the file is no copy of it.
    copy.unlink()
    copy.symlink_to(path)
    os.utime(copy, ns=(older, older), follow_symlinks=False)
    assert [run(), run()] == ['kept', 'there']
    assert not copy.is_symlink() and path.read_text() == 'b.png 0\n'
