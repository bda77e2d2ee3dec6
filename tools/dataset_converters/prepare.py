"""Check the images and lists of a benchmark, and write lists that fit.

Finds the usual download below ``--root``, compares the published lists with
what is known of them, looks for the images, and writes the lists in the
layout that was found, for the config to train on. Nothing is written unless
all is right. A second run finds everything done.
"""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lift_mm.datasets.published import (
    BENCHMARKS,
    SAMPLE,
    Benchmark,
    ImageList,
    choose_forms,
    difference,
    find_lists,
    groups_of,
    look_for_images,
    missing_taxonomy,
    published_text,
    readable,
    search_folders,
    write_files,
)


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('name', help=', '.join(BENCHMARKS))
    parser.add_argument('--root', help='where the images are')
    parser.add_argument(
        '--lists',
        help='where the published lists are; by default in --root or its '
        'folders lists, datasets, annotations, data_txt',
    )
    parser.add_argument('--out', help='folder to write to instead of --root')
    parser.add_argument(
        '--full',
        action='store_true',
        help=f'look for every image, not for {SAMPLE} of each list',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='check all, write nothing'
    )
    parser.add_argument(
        '--force', action='store_true', help='replace lists that differ'
    )
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='write the whole lists although images are missing',
    )
    parser.add_argument(
        '--jobs', type=int, default=16, help='threads that look for images'
    )
    return parser.parse_args(args)


def row(found: ImageList, checked: int, lost: int) -> list[str]:
    """Give a row of the summary."""
    counts = list(Counter(found.labels).values())
    groups = '/'.join(map(str, groups_of(counts)))
    return [
        found.facts.file.removesuffix('.txt'),
        f'{len(found.labels):,}',
        f'{len(counts):,}',
        groups if found.facts.split == 'train' else '',
        f'{checked:,}',
        f'{lost:,}',
    ]


def show(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print the summary."""
    table = Table(title=Text(title))  # a path may look like markup
    heads = 'list images classes many/\nmedium/few looked\nfor missing'
    for index, head in enumerate(heads.split(' ')):
        table.add_column(head, justify='right' if index else 'left')
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)


def next_command(
    benchmark: Benchmark, root: Path, out: Path, skip_missing: bool
) -> str:
    """Give the training command, with the keys that the config lacks."""
    files = {facts.split: facts.file for facts in benchmark.lists}
    root, out = root.resolve(), out.resolve()
    options = []
    for loader in ('train', 'val', 'test'):
        keys = {}
        if root != Path(benchmark.data_root).resolve():
            keys['data_root'] = root
        if out != root:
            keys['ann_file'] = out / files.get(loader, files['val'])
            if benchmark.taxonomy:
                keys['categories'] = out / benchmark.taxonomy
        if skip_missing:
            keys |= dict(check_files='none', skip_broken=True)
        options += [
            shlex.quote(f'{loader}_dataloader.dataset.{key}={value}')
            for key, value in keys.items()
        ]
    command = f'python tools/train.py {benchmark.config}'
    if options:
        command += ' --cfg-options'
    return ' \\\n  '.join([command, *options])


def prepare(
    benchmark: Benchmark,
    root: Path,
    lists: Path | None = None,
    out: Path | None = None,
    full: bool = False,
    dry_run: bool = False,
    force: bool = False,
    allow_missing: bool = False,
    jobs: int = 16,
) -> int:
    """Do what the command line asks for.

    Args:
        benchmark: What is published about the benchmark.
        root: Root folder of the images.
        lists: Folder of the published lists.
        out: Folder to write to.
        full: Whether to look for all images.
        dry_run: Whether to write nothing.
        force: Whether to replace lists that differ.
        allow_missing: Whether to go on where images are missing.
        jobs: Threads that look for images.

    Returns:
        The exit status: 0 where all is right, 1 otherwise.
    """
    lists, out = lists or root, out or root
    for folder, key in ((root, '--root'), (lists, '--lists')):
        if not folder.is_dir():
            raise ValueError(f'There is no folder {str(folder)!r} ({key}).')
    if jobs < 1:
        raise ValueError(f'{jobs} threads look for nothing (--jobs).')
    folders = search_folders(lists, benchmark.stem)
    problems, lacking, texts, rows = [], [], {}, []
    found_lists = find_lists(benchmark, folders, problems)
    for found in found_lists:
        notes = f' ({", ".join(found.notes)})' if found.notes else ''
        print(f'{found.facts.file}: read from {found.origin}{notes}')
    forms = choose_forms(benchmark, root, found_lists, lacking)
    for part, form in forms.items():
        print(f'Images of {part}: {root / readable(form)}')
    for found in found_lists:
        looked = look_for_images(
            found, benchmark, root, forms, lacking, full, jobs
        )
        rows.append(row(found, *looked))
        target = out / found.facts.file
        text = published_text(found, benchmark, forms)
        differs = difference(target, text) if target.is_file() else 'new'
        if differs:
            texts[target] = text
        if differs and target.is_file() and not force:
            problems.append(
                f'{target} is another list than the one to write: {differs}; '
                'replace it (--force), or write elsewhere (--out).'
            )
    if benchmark.taxonomy:
        target = out / benchmark.taxonomy
        try:
            text = missing_taxonomy(benchmark, [*folders, root], target)
        except ValueError as error:
            problems.append(str(error))
        else:
            texts |= {target: text} if text else {}
    show(f'{benchmark.title} in {root}', rows)
    problems += [] if allow_missing else lacking
    if problems:
        print('Nothing is written:')
        print('\n'.join(f'- {problem}' for problem in problems))
        if lacking and not allow_missing:
            print('To train on the images that are there: --allow-missing')
        return 1
    print('\n'.join(lacking), end='\n' if lacking else '')
    if not dry_run:
        write_files(texts)
    for path in texts:
        print(f'{"Would write" if dry_run else "Wrote"} {path}')
    if not texts:
        print('All lists are there.')
    print(f'Next:\n{next_command(benchmark, root, out, bool(lacking))}')
    return 0


def main(args=None) -> int:
    args = vars(parse_args(args))
    name = args.pop('name')
    if name.startswith('cifar'):
        print(
            f'{name} needs no preparation: CIFAR10LT and CIFAR100LT download '
            'the images and draw the published subset by themselves.'
        )
        return 0
    try:
        if name not in BENCHMARKS:
            raise ValueError(
                f'{name!r} is unknown; possible are {", ".join(BENCHMARKS)}.'
            )
        if args['root'] is None:
            raise ValueError('Say where the images are (--root).')
        for key in ('root', 'lists', 'out'):
            if args[key] is not None:
                args[key] = Path(args[key]).expanduser()
        return prepare(BENCHMARKS[name], **args)
    except ValueError as error:
        print(f'Nothing is written: {error}')
    except PermissionError as error:
        print(f'Stopped: {error}; --out names another folder to write to.')
    return 1


if __name__ == '__main__':
    sys.exit(main())
