"""Image files from anywhere: every way to load them treats them alike."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose, pseudo_collate
from picture_files import PHOTO, deep, encode, tagged, with_alpha
from PIL import Image

from lift_mm.datasets import LoadCrop, LongTailFolder, image_modes
from lift_mm.datasets.image_files import broken_reason
from lift_mm.datasets.transforms.load_crop import MODES
from lift_mm.registry import MODELS

CROP = dict(
    type='lift_mm.RandomResizedCrop',
    scale=16,
    crop_ratio_range=(1.0, 1.0),
)
LOAD_CROP = dict(type='lift_mm.LoadCrop', crop=CROP)
WHOLE = dict(type='LoadImageFromFile', imdecode_backend='pillow')


def bomb(kind: str) -> bytes:
    """Give a small file whose header claims 60000 x 60000 pixels."""
    if kind == 'JPEG':
        data = encode(PHOTO)
        start = data.index(b'\xff\xc0') + 5
        size = struct.pack('>HH', 60000, 60000)
        return data[:start] + size + data[start + 4 :]
    head = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunks = dict(IHDR=head, IDAT=zlib.compress(b''), IEND=b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body))
        + name.encode()
        + body
        + struct.pack('>I', zlib.crc32(name.encode() + body))
        for name, body in chunks.items()
    )


def eps() -> bytes:
    return (
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
        b'newpath 0 0 moveto 9 9 lineto stroke\n%%EOF\n'
    )


def floats(value: float = float('nan')) -> bytes:
    return encode(Image.fromarray(np.full((9, 9), value, np.float32)), 'TIFF')


def frames(kind: str) -> bytes:
    """Give an animation: a photo, then black."""
    black = Image.new('RGB', PHOTO.size)
    options = dict(lossless=True) if kind == 'WEBP' else {}
    return encode(
        PHOTO.quantize(64).convert('RGB'),
        kind,
        save_all=True,
        append_images=[black],
        duration=10,
        **options,
    )


def palette() -> bytes:
    return encode(PHOTO.quantize(32), 'PNG', transparency=3)


REFUSED = {
    'bomb.png': (bomb('PNG'), 'too many pixels.*3600000000.*178,956,970'),
    'bomb.jpg': (bomb('JPEG'), 'too many pixels.*3600000000.*178,956,970'),
    'empty.jpg': (b'', 'empty'),
    'cut.jpg': (encode(PHOTO)[:3000], 'truncated|not processed'),
    'cut.png': (encode(PHOTO, 'PNG')[:3000], 'truncated|not processed'),
    'page.jpg': (b'<html>404</html>', 'cannot identify'),
    'drawing.jpg': (eps(), 'EPS.*another program'),
    'nan.tiff': (floats(), 'floats.*white'),
    'wide.tiff': (
        encode(Image.fromarray(deep().astype(np.int32)), 'TIFF'),
        '32 bits.*white',
    ),
    'exif.png': (encode(PHOTO, 'PNG', exif=b'Exif\0\0damage'), 'not a TIFF'),
    'line.png': (
        encode(Image.new('RGB', (9000, 1)), 'PNG'),
        '9000 pixels wide and 1 high.*2000 times',
    ),
}
UNREADABLE = (ValueError, OSError, SyntaxError, Image.DecompressionBombError)
# The pixels of each, by Pillow.
grey16 = np.stack([deep() >> 8] * 3, -1)
rgb = np.asarray(PHOTO)
READ = {
    '16-bit.png': (encode(Image.fromarray(deep()), 'PNG'), grey16),
    '16-bit.tiff': (encode(Image.fromarray(deep()), 'TIFF'), grey16),
    '16-bit.pgm': (encode(Image.fromarray(deep()), 'PPM'), grey16),
    'alpha.png': (encode(with_alpha('RGB'), 'PNG'), rgb),
    'palette.png': (palette(), np.asarray(PHOTO.quantize(32).convert('RGB'))),
    '1-bit.png': (
        encode(PHOTO.convert('1'), 'PNG'),
        np.asarray(PHOTO.convert('1').convert('RGB')),
    ),
    'frames.gif': (frames('GIF'), None),
    'frames.png': (frames('PNG'), None),
    'frames.webp': (frames('WEBP'), None),
    'png.jpg': (encode(PHOTO, 'PNG'), rgb),
    'thin.png': (encode(PHOTO.crop((0, 9, 300, 10)), 'PNG'), rgb[9:10, :300]),
    'tall.png': (encode(PHOTO.crop((9, 0, 10, 200)), 'PNG'), rgb[:200, 9:10]),
    'dot.png': (encode(PHOTO.crop((9, 9, 10, 10)), 'PNG'), rgb[9:10, 9:10]),
}


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return dict(img_path=str(path))


@pytest.fixture(params=['stock', *MODES])
def load(request):
    """Give each way to load an image."""
    if request.param == 'stock':
        return LoadImageFromFile(imdecode_backend='pillow').transform
    return LoadCrop(CROP, mode=request.param).transform


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, load, tmp_path, monkeypatch):
    """Before anything is decoded, and no other program is called."""
    monkeypatch.setattr('subprocess.check_call', lambda *_, **__: 1 / 0)
    data, match = REFUSED[name]
    results = write(tmp_path, name, data)
    with pytest.raises(UNREADABLE):
        load(results)
    assert broken_reason(results['img_path'])


@pytest.mark.parametrize('name', REFUSED)
def test_a_run_names_file_reason_and_key(name, tmp_path):
    """Or leaves the file out, where that is asked for."""
    data, reason = REFUSED[name]
    keys = dict(split='', extensions=('jpg', 'png', 'tiff'), test_mode=True)
    for kind in ('a', 'b'):
        (tmp_path / kind).mkdir()
        PHOTO.resize((20, 20)).save(tmp_path / kind / 'good.jpg')
    write(tmp_path / 'b', name, data)
    dataset = LongTailFolder(str(tmp_path), pipeline=[WHOLE], **keys)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(3)]
    place = paths.index(str(tmp_path / 'b' / name))
    with pytest.raises(ValueError, match=rf'{name}.*{reason}.*`skip_broken='):
        dataset[place]
    assert len(LongTailFolder(str(tmp_path), skip_broken=True, **keys)) == 2


@pytest.mark.parametrize('name', READ)
def test_pixels(name, tmp_path):
    """Of the whole image, by the loader of the tests' pipelines."""
    data, want = READ[name]
    results = write(tmp_path, name, data)
    got = LoadImageFromFile(imdecode_backend='pillow').transform(results)
    got = got['img'][..., ::-1]
    if want is None:  # colours of a GIF are few
        assert got.shape == rgb.shape
        assert np.abs(got.astype(int) - rgb).mean() < 12
    else:
        assert np.array_equal(got, want)
    assert not broken_reason(results['img_path'])


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', READ)
def test_crops_show_the_same(name, mode, tmp_path):
    """Whatever the mode, a crop is one of the stock loader's image."""
    results = write(tmp_path, name, READ[name][0])
    crops = []
    for steps in ([WHOLE, CROP], [dict(LOAD_CROP, mode=mode)]):
        torch.manual_seed(0)
        crops.append(Compose(steps)(dict(results))['img'].astype(int))
    difference = np.abs(crops[0] - crops[1])
    assert difference.max() == 0 if mode == 'exact' else difference.mean() < 1


def test_a_broken_jpeg_of_a_batch_is_named(tmp_path):
    """Where the model's device decodes, too."""
    data = encode(PHOTO)
    spoilt = data[:700] + bytes(300) + b'\xff\xc8' + data[1002:]
    paths = [
        write(tmp_path, f'{number}.jpg', one)
        for number, one in enumerate([data, spoilt])
    ]
    load = Compose(
        [
            dict(LOAD_CROP, mode='device'),
            dict(type='mmpretrain.PackInputs', algorithm_keys=['crop']),
        ]
    )
    batch = pseudo_collate([load(path) for path in paths])
    model = MODELS.build(dict(type='lift_mm.JPEGDataPreprocessor'))
    with pytest.raises(ValueError, match="1.jpg' cannot be decoded") as seen:
        model(batch)
    assert '0.jpg' not in str(seen.value)


def test_limits_hold_where_pillow_has_none(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    for kind in ('PNG', 'JPEG'):
        with pytest.raises(ValueError, match='60000 x 60000.*178,956,970'):
            image_modes.open_image(BytesIO(bomb(kind)))


def test_orientation_of_deep_images(tmp_path):
    """The tag is not lost with the upper bits."""
    image = Image.fromarray(deep())
    results = write(tmp_path, 'a.png', tagged(6, image, 'PNG'))
    for flag, want in (
        ('color', np.rot90(grey16, -1)),
        ('color_ignore_orientation', grey16),
    ):
        load = LoadImageFromFile(imdecode_backend='pillow', color_type=flag)
        assert np.array_equal(load.transform(dict(results))['img'], want)
