"""Make a long-tailed training list from any folder of images.

Reads ``FOLDER/<class>/*`` or ``FOLDER/{train,val,test}/<class>/*`` and
writes into ``--out``::

    train.txt          the long tail, one "path label" a line
    val.txt            FOLDER/val as it is, or held-out images of FOLDER:
                       equally many of each class, whatever the seed is
    test.txt           FOLDER/test as it is, where it is there
    class_names.txt    one name a line, in the order of the sorted folders
    counts.png         training images of each class
    settings.json      what the lists were made from, and how

``lift_mm.LongTailList`` reads the lists; the paths in them start from
FOLDER. The same FOLDER and options always give the same lists, and a smaller
ratio keeps the same images and more.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import lift_mm
from lift_mm.analysis import count_plot
from lift_mm.clip.names import printable
from lift_mm.config_text import literal
from lift_mm.datasets import LongTailFolder
from lift_mm.datasets.long_tail_folder import split_folders
from lift_mm.datasets.longtail import (
    SHAPES,
    head_to_tail,
    holdout_mask,
    imbalanced_counts,
    long_tail_indices,
)
from lift_mm.evaluation import shot_groups

_FILES = (
    'train.txt',
    'val.txt',
    'test.txt',
    'class_names.txt',
    'counts.png',
    'settings.json',
)

_BASE = 'lift_mm::lift/vit-b16_folder.py'
_MAIN = """\
_base_ = {base!r}
model = dict(head=dict(num_classes={classes}))
data = dict(_delete_=True, type='lift_mm.LongTailList', data_root={root})
train_dataloader = dict(dataset=dict(data, ann_file={train}, \
pipeline=_base_.train_pipeline))
"""
_TEST = """\
{names} = dict(dataset=dict(data, ann_file={path}, \
pipeline=_base_.test_pipeline, test_mode=True))
"""

Images = list[tuple[str, int]]  # path from FOLDER, and label


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', help='folder of the images')
    parser.add_argument('--out', help='folder to write into')
    parser.add_argument(
        '--shape',
        choices=list(SHAPES),
        default='exponential',
        help='how class sizes fall: as in CIFAR-LT (the default), as in '
        'ImageNet-LT, or in one step',
    )
    parser.add_argument(
        '--ratio',
        type=float,
        default=100,
        help='largest over smallest class size (default: 100)',
    )
    parser.add_argument(
        '--mu',
        type=float,
        help='share of small classes of a step (default: 0.5)',
    )
    parser.add_argument(
        '--largest',
        type=int,
        help='training images of the largest class (default: all of it)',
    )
    parser.add_argument(
        '--order',
        choices=['size', 'name', 'random'],
        default='size',
        help='which classes come first in the head: the largest (the '
        'default), those of the first names, or any',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the choice of images'
    )
    parser.add_argument(
        '--val-fraction',
        type=float,
        help='share of the smallest class that each class gives for '
        'validation, where FOLDER has no val (default: 0.2)',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the counts only'
    )
    parser.add_argument(
        '--force', action='store_true', help='overwrite earlier lists'
    )
    args = parser.parse_args(args)
    if args.out is None and not args.dry_run:
        parser.error('--out is needed: the folder to write into')
    args.folder = os.path.abspath(os.path.expanduser(args.folder))
    args.out = args.out and os.path.abspath(os.path.expanduser(args.out))
    return args


def read_images(folder: str, split: str) -> tuple[Images, Sequence[str]]:
    """Give the images of a split, with their labels, and the class names."""
    dataset = LongTailFolder(
        folder,
        split,
        test_mode=split != 'train',
        check_files='none',
        allow_outside=True,  # whoever trains on the list has to say it, too
        serialize_data=False,
    )
    images = [
        (os.path.relpath(item['img_path'], folder), item['gt_label'])
        for item in dataset.data_list
    ]
    return images, dataset.metainfo['classes']


def hold_out(
    images: Images, classes: Sequence[str], fraction: float
) -> tuple[Images, Images]:
    """Part images into training and balanced validation images."""
    labels = [label for _, label in images]
    mask = holdout_mask(labels, fraction, balanced=True)
    if not mask.any():
        smallest = classes[int(np.bincount(labels).argmin())]
        raise ValueError(
            f'{smallest!r} has one image and can give none for validation; '
            'add images or take the class away, or put a validation set '
            'into FOLDER/val and the other images into FOLDER/train.'
        )
    kept = [image for image, held in zip(images, mask) if not held]
    return kept, [image for image, held in zip(images, mask) if held]


def thin_out(
    images: Images, classes: Sequence[str], args: argparse.Namespace
) -> tuple[Images, np.ndarray]:
    """Give the images of the long tail, and the counts it asked for."""
    labels = [label for _, label in images]
    sizes = np.bincount(labels, minlength=len(classes))
    if args.mu is not None and args.shape != 'step':
        raise ValueError(
            f'--mu {args.mu} is the share of small classes of a step, but '
            f'the shape is {args.shape!r}; add --shape step or drop --mu.'
        )
    if args.largest is not None and args.largest < 1:
        raise ValueError(
            f'--largest {args.largest} leaves no image; give at least 1.'
        )
    order = head_to_tail(sizes, args.order, args.seed)
    largest = args.largest or int(sizes.max())
    options = {} if args.mu is None else dict(mu=args.mu)
    wanted = np.empty(len(classes), dtype=int)
    wanted[order] = imbalanced_counts(
        args.shape, largest, len(classes), args.ratio, **options
    )
    rng = np.random.RandomState(args.seed)
    kept = long_tail_indices(labels, wanted, rng)
    return [images[place] for place in kept], wanted


def list_text(images: Images) -> str:
    """Write images as the lines of a list.

    Raises:
        ValueError: A path cannot stand in a list.
    """
    for path, _ in images:
        odd = '\n' in path or path != path.strip()
        if odd or any('\ud800' <= letter <= '\udfff' for letter in path):
            raise ValueError(
                f'{path!r} cannot stand in a list: it begins or ends with '
                'a blank, has a line break or is not UTF-8; rename it.'
            )
    return ''.join(f'{path} {label}\n' for path, label in images)


def snippet(args: argparse.Namespace, classes: int, tested: bool) -> str:
    """Give a config that trains on the lists."""
    train, val, test = (
        literal(os.path.join(args.out, f'{split}.txt'))
        for split in ('train', 'val', 'test')
    )
    text = _MAIN.format(
        base=_BASE, classes=classes, root=literal(args.folder), train=train
    )
    if not tested:
        names = 'val_dataloader = test_dataloader'
        return text + _TEST.format(names=names, path=val)
    text += _TEST.format(names='val_dataloader', path=val)
    return text + _TEST.format(names='test_dataloader', path=test)


def refuse_place(args: argparse.Namespace) -> None:
    """Refuse to overwrite lists, and to look like a class of images."""
    out = Path(args.out)
    if Path(args.folder) in out.parents:
        raise ValueError(
            f'--out {args.out} lies in FOLDER, where every folder is a class '
            'or a split; choose one outside, or FOLDER itself.'
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f'--out {args.out} is a file; choose a folder.')
    there = [name for name in _FILES if (out / name).exists()]
    if there and not args.force:
        raise ValueError(
            f'--out {args.out} has {", ".join(there)} already; choose '
            'another folder, or overwrite them with --force.'
        )
    if 'test.txt' in there and 'test' not in split_folders(args.folder):
        raise ValueError(
            f'--out {args.out} has a test.txt, but {args.folder} no test '
            'images; choose another folder, or take the file away.'
        )


def write(files: dict[str, bytes], out: Path) -> None:
    """Write all files, or none of them."""
    out.mkdir(parents=True, exist_ok=True)
    parts = {name: out / f'.{name}.part' for name in files}
    try:
        for name, part in parts.items():
            part.write_bytes(files[name])
        for name, part in parts.items():
            os.replace(part, out / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def report(
    counts: dict[str, np.ndarray], wanted: np.ndarray, classes: Sequence[str]
) -> list[str]:
    """Say in sentences what became of the long tail."""
    train = counts['train']
    groups = shot_groups(train).items()
    shots = ', '.join(f'{len(found)} {group}' for group, found in groups)
    lines = [
        f'train: {train.sum():,} images in {len(classes)} classes of '
        f'{train.max():,} to {train.min():,}, {shots}-shot.'
    ]
    for split, found in list(counts.items())[1:]:
        lines.append(
            f'{split}: {found.sum():,} images, {found.min():,} to '
            f'{found.max():,} of a class.'
        )
    short = np.flatnonzero(train < wanted)
    if len(short):
        first = short[0]
        lines.append(
            f'{len(short)} of {len(classes)} classes have too few images and '
            f'keep all, such as {classes[first]!r}: {train[first]} where '
            f'{wanted[first]} were asked for (a smaller --largest helps).'
        )
    return lines


def table(counts: dict[str, np.ndarray], classes: Sequence[str]) -> str:
    """Give the counts of each class in columns."""
    rows = [(*(f'{split:>7}' for split in counts), '  class')]
    for label, name in enumerate(classes):
        numbers = (f'{found[label]:7d}' for found in counts.values())
        rows.append((*numbers, f'  {printable(name)}'))
    return '\n'.join(''.join(row) for row in rows)


def make(args: argparse.Namespace) -> None:
    """Read the folder, print what comes out, and write it."""
    if not args.dry_run:
        refuse_place(args)
    images, classes = read_images(args.folder, 'train')
    splits = split_folders(args.folder)
    if 'val' in splits:
        if args.val_fraction is not None:
            raise ValueError(
                f'--val-fraction {args.val_fraction} is for folders without '
                f'a validation set, but {args.folder!r} has one; drop it.'
            )
        val, _ = read_images(args.folder, 'val')
    else:
        if args.val_fraction is None:
            args.val_fraction = 0.2
        images, val = hold_out(images, classes, args.val_fraction)
    tail, wanted = thin_out(images, classes, args)
    lists = dict(train=tail, val=val)
    if 'test' in splits:
        lists['test'], _ = read_images(args.folder, 'test')
    counts = {
        split: np.bincount([label for _, label in found], None, len(classes))
        for split, found in lists.items()
    }
    print('\n'.join(report(counts, wanted, classes)))
    if args.dry_run:
        print(table(counts, classes))
        return
    settings = {
        key: value
        for key, value in vars(args).items()
        if key not in ('out', 'dry_run', 'force')
    }
    settings['lift_mm'] = lift_mm.__version__
    settings['class_counts'] = {k: v.tolist() for k, v in counts.items()}
    sizes = counts['train']
    title = (
        f'{args.shape} long tail of ratio {args.ratio:g}: {sizes.sum():,} '
        f'images in {len(classes)} classes of {sizes.max()} to {sizes.min()}'
    )
    files = {f'{k}.txt': list_text(found) for k, found in lists.items()}
    files['class_names.txt'] = ''.join(f'{name}\n' for name in classes)
    files['settings.json'] = json.dumps(settings, indent=1) + '\n'
    files = {name: text.encode() for name, text in files.items()}
    files['counts.png'] = count_plot(counts['train'], classes, title)
    write(files, Path(args.out))
    print(f'Written: {", ".join(sorted(files))} in {args.out}')
    print('\nA config that trains on it, for tools/train.py:\n')
    print(snippet(args, len(classes), 'test' in lists), end='')


def main(args=None) -> None:
    args = parse_args(args)
    try:
        make(args)
    except (TypeError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
