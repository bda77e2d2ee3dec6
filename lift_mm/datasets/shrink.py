"""Copies of images with fewer pixels, which load faster."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image
from torchvision.datasets.folder import IMG_EXTENSIONS

# What is written again, and how; JPEG and WebP lose by it.
_FORMATS = {
    **dict.fromkeys(('BMP', 'JPEG', 'PNG', 'PPM', 'WEBP'), {}),
    'TIFF': dict(compression='tiff_adobe_deflate'),
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Outcome(NamedTuple):
    """What became of a file: ``'shrunk'``, ``'kept'`` as it is, ``'there'``
    from an earlier run, ``'lost'`` or an empty ``'folder'``; its bytes
    before and after; and why it is lost or was not shrunk."""

    path: str
    kind: str
    before: int = 0
    after: int = 0
    reason: str = ''


def is_image(path: str) -> bool:
    """Tell images from other files, by the ending."""
    return path.lower().endswith(IMG_EXTENSIONS)


def shrunken_size(size: tuple[float, float], short_side: int) -> tuple:
    """Give the width and height that mmpretrain's ``ResizeEdge`` comes to.

    Args:
        size: Width and height.
        short_side: The smaller of the new ones, in pixels.
    """
    width, height = size
    if width < height:
        return short_side, int(short_side * height / width)
    return int(short_side * width / height), short_side


def shrunken(data: bytes, short_side: int, quality: int = 95) -> bytes | None:
    """Write an image again with a short side of so many pixels.

    Format, colour model, bits and colour profile stay; a palette becomes
    colours, black and white becomes grey. Pixels are not turned and the tag
    of the orientation stays, so that readers that heed it and readers that
    do not see what they saw. Other metadata and further frames go.

    Args:
        data: An image file.
        short_side: Pixels of the short side.
        quality: Of JPEG and WebP, from 1 to 100.

    Returns:
        The new file, or None where the short side is no longer than that.

    Raises:
        ValueError: The format is none of those written.
        Exception: Whatever Pillow raises on a broken file.
    """
    with Image.open(BytesIO(data)) as image:
        if min(image.size) <= short_side:
            return None
        # Cameras write JPEGs with a second picture behind.
        kind = 'JPEG' if image.format == 'MPO' else image.format
        if kind not in _FORMATS:
            raise ValueError(f'{kind} files are not written')
        # A JPEG decodes faster at a half, a quarter or an eighth, as long as
        # filtering has twice the pixels of the copy to start from.
        double = [2 * side for side in shrunken_size(image.size, short_side)]
        drafted = image.draft(None, double)
        image.load()
        box = drafted[1] if drafted else (0, 0, *image.size)
        small = _resized(image, shrunken_size(box[2:], short_side), box)
        options = dict(icc_profile=image.info.get('icc_profile'))
        # Damaged metadata do not make an image broken.
        with suppress(Exception):
            turn = image.getexif().get(ExifTags.Base.Orientation)
            if turn in range(2, 9):
                options['exif'] = Image.Exif()
                options['exif'][ExifTags.Base.Orientation] = turn
    if kind in ('JPEG', 'WEBP'):
        options['quality'] = quality
    file = BytesIO()
    small.save(file, kind, **options, **_FORMATS[kind])
    return file.getvalue()


def _resized(image: Image.Image, size: tuple, box: tuple) -> Image.Image:
    if image.mode == '1':
        image = image.convert('L')
    elif image.mode == 'P':
        clear = 'transparency' in image.info
        image = image.convert('RGBA' if clear else 'RGB')
    # Pillow would blacken what is transparent, but training sees it.
    bands = image.split() if image.mode == 'RGBA' else [image]
    cubic = Image.Resampling.BICUBIC
    bands = [band.resize(size, cubic, box) for band in bands]
    small = Image.merge('RGBA', bands) if len(bands) > 1 else bands[0]
    small.info = {}  # a transparent colour would be another one now
    return small


def find_files(source: str, target: str) -> Iterator[str]:
    """Find the files of a folder, with those behind links.

    Args:
        source: The folder.
        target: Folder of the copies, which may be there or not.

    Yields:
        Paths relative to ``source``, sorted in each folder; also those of
        empty folders.

    Raises:
        ValueError: A copy would lie among the files to copy, or links go
            round in a circle.
    """
    root, goal = Path(source), Path(os.path.realpath(target))

    def walk(folder: Path, above: tuple[Path, ...]) -> Iterator[str]:
        real = Path(os.path.realpath(folder))
        inner = folder.relative_to(root)
        if real in above:
            raise ValueError(
                f'{str(folder)!r} is a link to a folder that it lies in; '
                'take it away.'
            )
        if goal.is_relative_to(real) or real.is_relative_to(goal):
            raise ValueError(
                f'DST {target!r} and {str(folder)!r}, which is read, are the '
                'same or lie in each other; choose a DST outside.'
            )
        if Path(os.path.realpath(goal / inner)) != goal / inner:
            raise ValueError(
                f'{str(inner)!r} in DST {target!r} is a link; take it away, '
                'so that nothing is written elsewhere.'
            )
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
        if not entries:  # may be a class that counts
            yield str(inner)
        for entry in entries:
            if entry.is_dir():
                yield from walk(folder / entry.name, (*above, real))
            else:
                yield str(inner / entry.name)

    yield from walk(root, ())


def shrink_file(
    path: str,
    source: str,
    target: str,
    short_side: int,
    quality: int = 95,
    force: bool = False,
) -> Outcome:
    """Copy a file, with fewer pixels if it is an image with many.

    The copy appears whole or not at all. It has the time stamp of the file,
    by which the next run knows that it is done.

    Args:
        path: The file or empty folder, relative to the folders.
        source: Folder to read from.
        target: Folder to write to.
        short_side: Pixels of the short side.
        quality: Of JPEG and WebP.
        force: Whether to do again what is done.

    Returns:
        What became of it. An image that cannot be shrunk is kept, with a
        reason and another time stamp: the next run tries again.

    Raises:
        OSError: The disk is full.
    """
    origin, copy = os.path.join(source, path), os.path.join(target, path)
    # A process writes one file at a time, and a name may have full length.
    part = os.path.join(os.path.dirname(copy), f'.{os.getpid()}.part')
    data, reason = None, ''
    try:
        status = os.stat(origin)
        if stat.S_ISDIR(status.st_mode):
            os.makedirs(copy, exist_ok=True)
            return Outcome(path, 'folder')
        if not stat.S_ISREG(status.st_mode):
            return Outcome(path, 'lost', reason='no copy: no regular file')
        size, time = status.st_size, status.st_mtime_ns
        if not force and _is_done(copy, time):
            return Outcome(path, 'there', size, os.path.getsize(copy))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        if is_image(path):
            try:
                data = Path(origin).read_bytes()
                data = shrunken(data, short_side, quality)
            # Decoders raise nearly everything.
            except Exception as error:
                data, reason = None, f'{type(error).__name__}: {error}'
        if data is None:
            shutil.copyfile(origin, part)
        else:
            Path(part).write_bytes(data)
        after = os.path.getsize(part)
        time -= 10**13 if reason else 0  # some hours
        os.utime(part, ns=(time, time))
        os.replace(part, copy)
    except OSError as error:
        if error.errno in _FULL:
            raise
        return Outcome(path, 'lost', reason=f'no copy: {error}')
    finally:
        with suppress(OSError):  # mostly it is not there
            os.unlink(part)
    kind = 'kept' if data is None else 'shrunk'
    return Outcome(path, kind, size, after, reason)


def _is_done(copy: str, time: int) -> bool:
    try:
        there = os.lstat(copy)
    except OSError:
        return False
    # Some file systems count in steps of two seconds.
    same = abs(there.st_mtime_ns - time) < 2 * 10**9
    return same and stat.S_ISREG(there.st_mode)
