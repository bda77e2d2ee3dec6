"""What kinds of images are read, and how deep ones get eight bits.

For a file that anybody may have written: what would call another program,
fill the memory or lose its greys is refused, or repaired, by name.
"""

from typing import BinaryIO

import mmcv.image.io
import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 178_956_970  # where Pillow refuses, too, unless it is told not to
_MAX_ASPECT = 2000  # its short side at 336 pixels takes 700 MB
# Pillow has other programs draw these (EPS: Ghostscript).
_DRAWN = ('EPS', 'WMF', 'EMF')


def open_image(file: str | BinaryIO) -> Image.Image:
    """Open an image that may be decoded; nothing is decoded yet.

    Args:
        file: A path, or an open file.

    Raises:
        OSError: It is no image.
        ValueError: See :func:`check`.
    """
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(error)) from error
    check(image)
    return image


def check(image: Image.Image) -> None:
    """Refuse an opened image before it is decoded.

    Raises:
        ValueError: It is drawn by another program, has too many pixels, or
            is so thin that resizing its short side would fill the memory.
    """
    width, height = image.size
    if image.format in _DRAWN:
        raise ValueError(
            f'it is a drawing in {image.format}, which another program would '
            'have to read; save it as PNG'
        )
    if width * height > MAX_PIXELS:
        raise ValueError(_too_large(f'{width} x {height}'))
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ValueError(
            f'it is {width} pixels wide and {height} high; the longer side '
            f'may be {_MAX_ASPECT} times the shorter'
        )


def prepared(image: Image.Image, flag: str = 'color') -> Image.Image:
    """Decode an image to eight bits a channel.

    Pillow's own conversion of 16 bits cuts off all that is brighter than
    255 and leaves white. Here the upper eight stay.

    Args:
        image: A file that Pillow has opened.
        flag: mmcv's; grey images of 16 bits are turned as their orientation
            tag says, unless it ends in ``ignore_orientation``. Others still
            have to be.

    Raises:
        OSError: The file is broken.
        ValueError: Its numbers have no known white (floats, 32 bits).
    """
    kind = image.format
    image.load()
    mode = image.mode
    # Older versions of Pillow read PNGs of 16 bits as 32; PGMs it still does.
    if mode.startswith('I;16') or (mode == 'I' and kind in ('PNG', 'PPM')):
        if not flag.endswith('ignore_orientation'):
            image = ImageOps.exif_transpose(image)
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if mode in ('I', 'F'):
        numbers = 'floats' if mode == 'F' else 'whole numbers of 32 bits'
        raise ValueError(
            f'its pixels are {numbers}, of which none is known to be white; '
            'save it with 8 or 16 bits'
        )
    return image


def _too_large(size: object) -> str:
    return (
        f'it has too many pixels to be decoded ({size}); {MAX_PIXELS:,} are '
        'possible'
    )


_to_array = mmcv.image.io._pillow2array


def _checked_to_array(
    image: Image.Image, flag: str = 'color', channel_order: str = 'bgr'
) -> np.ndarray:
    check(image)
    if flag != 'unchanged':
        image = prepared(image, flag)
    return _to_array(image, flag, channel_order)


def install() -> None:
    """Let mmcv's loader with Pillow treat images alike.

    The pipelines of tests name it, and mmpretrain's inferencer knows it by
    its name: a loader of our own in its place would not be recognised.
    """
    mmcv.image.io._pillow2array = _checked_to_array
