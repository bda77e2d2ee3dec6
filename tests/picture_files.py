"""Small image files of every kind, made of one photograph."""

from io import BytesIO

import cv2
import numpy as np
from parity_data import ROOT
from PIL import ExifTags, Image

PHOTO = Image.open(ROOT / 'images' / 'china.png').convert('RGB')
TAGS = range(1, 9)


def encode(image: Image.Image, kind: str = 'JPEG', **options) -> bytes:
    file = BytesIO()
    if kind == 'JPEG':
        options = dict(quality=90, subsampling='4:2:0') | options
    image.save(file, kind, **options)
    return file.getvalue()


def tagged(tag: int, image: Image.Image = PHOTO, kind: str = 'JPEG') -> bytes:
    """Give a file with an orientation tag."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    return encode(image, kind, exif=exif)


def with_alpha(mode: str) -> Image.Image:
    image = PHOTO.convert(mode)
    ramp = np.arange(image.width) % 256 * np.ones((image.height, 1))
    image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image


def deep() -> np.ndarray:
    """Give a grey image of 16 bits, shape (H, W)."""
    grey = np.asarray(PHOTO.convert('L')).astype(np.uint16)
    return grey * 257 - grey % 3


def deep_colours() -> bytes:
    image = np.stack([deep()] * 3, -1) - np.arange(3, dtype=np.uint16)
    return cv2.imencode('.png', image)[1].tobytes()


# Those that mmcv's loader reads, too.
FILES = {
    'colours': encode(PHOTO),
    '4:4:4': encode(PHOTO, subsampling='4:4:4'),
    'progressive': encode(PHOTO, progressive=True),
    'grey': encode(PHOTO.convert('L')),
    'CMYK': encode(PHOTO.convert('CMYK')),
    'odd size': encode(PHOTO.crop((0, 0, 131, 93))),
    'PNG': encode(PHOTO, 'PNG'),
    'PNG grey': encode(PHOTO.convert('L'), 'PNG'),
    'PNG black and white': encode(PHOTO.convert('1'), 'PNG'),
    'PNG palette': encode(PHOTO.quantize(32), 'PNG'),
    'PNG palette, transparent': encode(
        PHOTO.quantize(32), 'PNG', transparency=3
    ),
    'PNG alpha': encode(with_alpha('RGB'), 'PNG'),
    'PNG grey, alpha': encode(with_alpha('L'), 'PNG'),
    'PNG 16 bits, colours': deep_colours(),
    'WebP': encode(PHOTO, 'WEBP'),
    'BMP': encode(PHOTO, 'BMP'),
    'GIF': encode(PHOTO.quantize(64), 'GIF'),
    **{f'turned {tag}': tagged(tag) for tag in TAGS},
    'PNG turned 6': tagged(6, kind='PNG'),
    'CMYK turned 5': tagged(5, PHOTO.convert('CMYK')),
    'tag of no meaning': tagged(9),
}
