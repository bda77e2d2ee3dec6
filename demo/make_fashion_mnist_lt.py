"""Make a long-tailed Fashion-MNIST of class-per-folder PNGs in one zip.

Reads the four files of the public data set (``train-images-idx3-ubyte.gz``,
``train-labels-idx1-ubyte.gz`` and the two ``t10k-*`` files) and writes::

    train/<class>/<5-digit number in the original set>.png
    test/<class>/<5-digit number in the original set>.png
    LICENSE.txt

The number of training images falls exponentially from the first class to
the last one; the test images are balanced.  The same files and options
always give the same images.
"""

import argparse
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

# Folder names in the order of the original labels 0 to 9.
CLASSES = (
    't-shirt',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'ankle_boot',
)
LICENSE = """\
The images are taken from Fashion-MNIST,
https://github.com/zalandoresearch/fashion-mnist

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def read_idx(path):
    """Read one gzipped idx file of unsigned bytes."""
    with gzip.open(path, 'rb') as handle:
        data = handle.read()
    if data[:3] != b'\0\0\x08':
        raise ValueError(f'{path} is no idx file of unsigned bytes')
    ndim = data[3]
    shape = np.frombuffer(data, '>u4', ndim, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def read_split(folder, prefix):
    """Read the images and the labels of one split."""
    return (
        read_idx(Path(folder) / f'{prefix}-images-idx3-ubyte.gz'),
        read_idx(Path(folder) / f'{prefix}-labels-idx1-ubyte.gz'),
    )


def long_tail(largest, ratio, classes):
    """Return the number of training images of every class."""
    return [
        int(largest * (1 / ratio) ** (c / (classes - 1)))
        for c in range(classes)
    ]


def png(pixels):
    """Encode one grey image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format='PNG', optimize=True)
    return buffer.getvalue()


def add(archive, name, data):
    """Add one file with a fixed date, so that the bytes are repeatable."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    info.compress_type = (
        zipfile.ZIP_DEFLATED if name.endswith('.txt') else zipfile.ZIP_STORED
    )
    archive.writestr(info, data)


def add_split(archive, split, images, labels, counts, rng):
    """Add a random selection of the images of every class."""
    for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
        found = np.flatnonzero(labels == label)
        if count > len(found):
            raise ValueError(f'{split} has only {len(found)} of {name}')
        chosen = np.sort(rng.permutation(found)[:count])
        for index in chosen:
            add(archive, f'{split}/{name}/{index:05d}.png', png(images[index]))


def main():
    """Parse the command line and write the zip."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='folder with the four idx .gz files')
    parser.add_argument('out', help='zip to write')
    parser.add_argument(
        '--largest',
        type=int,
        default=1000,
        help='training images of the first class',
    )
    parser.add_argument(
        '--ratio',
        type=float,
        default=100,
        help='imbalance ratio, first class to last class',
    )
    parser.add_argument(
        '--test', type=int, default=100, help='test images of every class'
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    rng = np.random.RandomState(args.seed)
    counts = long_tail(args.largest, args.ratio, len(CLASSES))
    with zipfile.ZipFile(args.out, 'w') as archive:
        add(archive, 'LICENSE.txt', LICENSE)
        add_split(
            archive, 'train', *read_split(args.source, 'train'), counts, rng
        )
        add_split(
            archive,
            'test',
            *read_split(args.source, 't10k'),
            [args.test] * len(CLASSES),
            rng,
        )
    for name, count in zip(CLASSES, counts, strict=True):
        print(f'{name:12s}{count:5d} train{args.test:5d} test')


if __name__ == '__main__':
    main()
