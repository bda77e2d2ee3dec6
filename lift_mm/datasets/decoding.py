"""Files to pixels: as published, and faster ways to nearly the same.

Arrays have the shape (H, W, 3) and the channels in the order blue, green, red,
as everywhere in mmpretrain.
"""

from io import BytesIO

import cv2
import numpy as np
import torch
from mmengine import fileio
from PIL import ExifTags, Image, ImageOps
from torch.nn import functional as F

from .image_modes import open_image, prepared

# What OpenCV calls a decoding at the full, half, ... width and height.
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_CANVAS = (124, 117, 104)  # what mmcv puts behind grey with alpha


def read(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file, as mmengine's ``fileio`` does.

    Args:
        path: A path, or an address such as ``s3://...``.
        backend_args: Where files are, for ``fileio``.
    """
    if backend_args is None and '://' not in str(path):
        # Finding that out takes fileio as long as reading.
        with open(path, 'rb') as file:
            return file.read()
    return fileio.get(path, backend_args=backend_args)


def to_rgb(image: Image.Image, upright: bool) -> Image.Image:
    """Decode an image as mmcv's loader does with Pillow.

    Grey images of 16 bits keep their upper 8, see :func:`prepared`.

    Args:
        image: A file that Pillow has opened.
        upright: Whether to turn it as its orientation tag says.

    Returns:
        The image in colours; transparency is ignored, but behind grey with
        alpha a canvas of ImageNet's mean colour is put.

    Raises:
        OSError: The file is broken.
        ValueError: It holds floats or numbers of 32 bits.
    """
    flag = 'color' if upright else 'color_ignore_orientation'
    image = prepared(image, flag)
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode == 'LA':
        image = image.convert('RGBA')
        canvas = Image.new('RGB', image.size, _CANVAS)
        canvas.paste(image, mask=image.getchannel('A'))
        return canvas
    return image if image.mode == 'RGB' else image.convert('RGB')


def to_array(image: Image.Image) -> np.ndarray:
    """Copy the pixels of an image in colours, blue first."""
    return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)


def turn(image: Image.Image) -> int:
    """Give the orientation tag of an image: 1 as it is, 2 to 8 otherwise."""
    tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    return tag if tag in range(1, 9) else 1


def is_plain_jpeg(image: Image.Image) -> bool:
    """Say whether an opened file is a JPEG that every decoder reads alike.

    Those for printers, in cyan, magenta, yellow and black, are not.
    """
    # Cameras write JPEGs with a second picture behind: MPO.
    return image.format in ('JPEG', 'MPO') and image.mode in ('RGB', 'L')


def has_end(data: bytes) -> bool:
    """Say whether a JPEG is not cut off."""
    # An end marker in the first half is that of a thumbnail.
    return data.rfind(b'\xff\xd9') >= len(data) // 2


def decode_jpeg(data: bytes, reduction: int = 1, tag: int = 1) -> np.ndarray:
    """Decode a plain JPEG with OpenCV.

    Args:
        data: The file.
        reduction: 2, 4 or 8 decode a half, ... of the width and the height,
            rounded up, which takes less time.
        tag: Orientation to turn it to, see :func:`turn`.

    Returns:
        The image. What OpenCV cannot read comes from Pillow, at full size.

    Raises:
        OSError: The file is broken.
        ValueError: It holds floats or numbers of 32 bits.
    """
    flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    image = None
    # Some versions of OpenCV leave grey where a file is cut off.
    if has_end(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        whole = to_rgb(open_image(BytesIO(data)), upright=False)
        image = to_array(whole)
    if tag != 1:
        turned = Image.fromarray(image)
        turned.getexif()[ExifTags.Base.Orientation] = tag
        image = np.array(ImageOps.exif_transpose(turned))
    return image


def resize(
    image: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Resize with antialiasing, as Pillow does up to rounding, but faster.

    Args:
        image: Shape (H, W, 3), uint8.
        size: Height and width of the result.
        interpolation: ``'bilinear'`` or ``'bicubic'``.
    """
    height, width = image.shape[:2]
    if interpolation == 'bilinear' and height <= size[0] and width <= size[1]:
        # Nothing to smooth: the same sums in half the time.
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    batch = F.interpolate(batch, size, mode=interpolation, antialias=True)
    return batch[0].permute(1, 2, 0).numpy()


def planes(image: np.ndarray, swap: bool = False) -> np.ndarray:
    """Store an image as three planes, which ``PackInputs`` need not copy.

    Args:
        image: Shape (H, W, 3), uint8.
        swap: Whether to store the last plane first, as red, green, blue are
            turned into blue, green, red.

    Returns:
        The same, as a view of an array (3, H, W).
    """
    stored = image.transpose(2, 0, 1)
    if swap or not stored.flags.c_contiguous:
        stored = np.empty(stored.shape, np.uint8)
        cv2.split(image, list(stored[::-1] if swap else stored))
    return stored.transpose(1, 2, 0)


def mirror(image: np.ndarray) -> np.ndarray:
    """Mirror an image left to right, shape (H, W) or (H, W, C).

    One that :func:`planes` has stored is stored so again; of others a view
    is given.
    """
    if image.ndim == 3 and image.dtype == np.uint8 and image.size:
        stored = image.transpose(2, 0, 1)
        if stored.flags.c_contiguous:
            rows = cv2.flip(stored.reshape(-1, stored.shape[-1]), 1)
            return rows.reshape(stored.shape).transpose(1, 2, 0)
    return image[:, ::-1]
