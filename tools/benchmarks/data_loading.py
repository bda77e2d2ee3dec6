"""Time the training pipeline against torchvision's on Pillow images, in turn.

Each pipeline reads the same JPEG files and draws the same crops, on one
thread; times are of the processor. Torchvision's is the published one:
RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize. Ours end with
the bytes that a worker hands over, for lift_mm normalises on the device.
"ratio" is the median over the rounds of torchvision's time to a row's.
"mean" and "max" are differences from the pixels of the mode 'exact', of 255.

Without --folder, crops of scikit-learn's sample photographs are written as
JPEGs, two pixels of brightness to each of colour (4:2:0).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import alternate, median_ratio
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file

import lift_mm  # noqa: F401  (registers transforms)

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)  # about those of CLIP
MODES = {
    'exact': dict(mode='exact'),
    'tensor': dict(mode='tensor'),
    'fast': dict(mode='fast'),
    'fast, min_detail=1': dict(mode='fast', min_detail=1),
}


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--folder', type=Path, help='JPEGs of your own')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(500, 375), metavar='PIXELS',
        help='width and height of the images written',
    )  # fmt: skip
    parser.add_argument('--quality', type=int, default=90, help='of JPEGs')
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--crop', type=int, default=224, help='side')
    parser.add_argument(
        '--interpolation', default='bilinear', choices=['bilinear', 'bicubic']
    )
    parser.add_argument('--rounds', type=int, default=15)
    return parser.parse_args(args)


def write_images(folder: Path, number: int, size: tuple, quality: int) -> None:
    """Write crops of real photographs; larger than these are enlarged."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    for index in range(number):
        photo = photos[index % len(photos)]
        zoom = max(s / p for s, p in zip(size, photo.size, strict=True))
        if zoom > 1:
            wanted = [-int(-zoom * side) + 1 for side in photo.size]
            photo = photo.resize(wanted, Image.Resampling.BICUBIC)
        left, top = (
            int(rng.integers(p - s + 1))
            for s, p in zip(size, photo.size, strict=True)
        )
        crop = photo.crop((left, top, left + size[0], top + size[1]))
        name = folder / f'{index:05}.jpg'
        crop.save(name, quality=quality, subsampling='4:2:0')


def torchvision_pipeline(crop: int, interpolation: str) -> Callable:
    mode = transforms.InterpolationMode(interpolation)
    steps = transforms.Compose(
        [
            transforms.RandomResizedCrop(crop, interpolation=mode),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def load(path: str) -> Tensor:
        with open(path, 'rb') as file:
            return steps(Image.open(file).convert('RGB'))

    return load


def pipeline(*steps: dict) -> Callable:
    """Build a pipeline of mmpretrain that begins with a file's path."""
    steps = [
        TRANSFORMS.build({'_scope_': 'mmpretrain', **step})
        for step in (*steps, dict(type='PackInputs'))
    ]

    def load(path: str) -> Tensor:
        results = dict(img_path=path, gt_label=0)
        for step in steps:
            results = step(results)
        return results['inputs']

    return load


def decoders() -> dict[str, Callable]:
    """Give what decodes a file and does nothing else."""

    def with_opencv(flags: int) -> Callable:
        return lambda path: cv2.imdecode(np.fromfile(path, np.uint8), flags)

    return {
        'Pillow': lambda path: Image.open(path).load(),
        'torchvision': lambda p: decode_jpeg(read_file(p), ImageReadMode.RGB),
        'OpenCV': with_opencv(cv2.IMREAD_COLOR),
        'OpenCV, half': with_opencv(cv2.IMREAD_REDUCED_COLOR_2),
        'OpenCV, eighth': with_opencv(cv2.IMREAD_REDUCED_COLOR_8),
    }


def pipelines(crop: int, interpolation: str) -> dict[str, Callable]:
    box = dict(
        type='lift_mm.RandomResizedCrop',
        scale=crop,
        interpolation=interpolation,
    )
    flip = dict(type='lift_mm.RandomFlip')
    load = dict(
        type='LoadImageFromFile',
        imdecode_backend='pillow',
        color_type='color_ignore_orientation',
    )
    known = load['color_type']
    found = {'load, then crop': pipeline(load, box, flip)}
    for name, keys in MODES.items():
        step = dict(type='lift_mm.LoadCrop', crop=box, color_type=known)
        found[name] = pipeline(step | keys, flip)
    return found


def timed(load: Callable, paths: Sequence[str]) -> Callable[[], float]:
    """Give a function that tells the processor's time for each image.

    Its crops change from call to call, the same for every pipeline.
    """
    seeds = count()

    def seconds() -> float:
        torch.manual_seed(next(seeds))
        begin = time.process_time()
        for path in paths:
            load(path)
        return (time.process_time() - begin) / len(paths)

    return seconds


def difference(load: Callable, exact: Callable, paths) -> tuple[float, int]:
    """Give mean and largest difference of two pipelines' pixels."""
    found = []
    for one in (load, exact):
        torch.manual_seed(0)
        found.append(torch.stack([one(path) for path in paths]).int())
    apart = (found[0] - found[1]).abs()
    return apart.double().mean().item(), apart.max().item()


def main(args=None) -> None:
    args = parse_args(args)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    base = torchvision_pipeline(args.crop, args.interpolation)
    ours = pipelines(args.crop, args.interpolation)
    with tempfile.TemporaryDirectory() as folder:
        if not args.folder:
            write_images(Path(folder), args.images, args.size, args.quality)
        files = sorted((args.folder or Path(folder)).rglob('*.[jJ][pP]*[gG]'))
        paths = list(map(str, islice(files, args.images)))
        if not paths:
            raise SystemExit(f'There is no JPEG in {args.folder}.')
        size = statistics.mean(Path(path).stat().st_size for path in paths)
        loads = {'torchvision on Pillow': base, **ours}
        loads |= {f'decode: {k}': v for k, v in decoders().items()}
        times = alternate(
            {name: timed(load, paths) for name, load in loads.items()},
            args.rounds,
        )
        apart = {
            name: difference(load, ours['exact'], paths)
            for name, load in ours.items()
        }
    print(
        f'{len(paths)} JPEGs of {size / 1024:.1f} KiB -> {args.crop}, '
        f'{args.interpolation}, one thread, {args.rounds} rounds'
    )
    print(f'{"":24}{"img/s":>8}{"ratio":>8}{"mean":>8}{"max":>6}')
    reference = times['torchvision on Pillow']
    for name, spent in times.items():
        ratio = median_ratio(reference, spent)
        line = f'{name:24}{1 / statistics.median(spent):8.0f}{ratio:8.2f}'
        if name in apart:
            mean, largest = apart[name]
            line += f'{mean:8.3f}{largest:6}'
        print(line)


if __name__ == '__main__':
    main()
