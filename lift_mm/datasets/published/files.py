"""Finding the files that a user has, and writing those that are missing."""

import os
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path

from .facts import Benchmark, PublishedList
from .inaturalist import taxonomy_text


def search_folders(base: Path, stem: str) -> list[Path]:
    """Give the folders in which lists and annotations usually lie.

    Args:
        base: Where the user says they are.
        stem: Common beginning of the benchmark's lists, and the name of
            their folder in the repositories that publish them.
    """
    usual = ('', 'lists', 'datasets', 'annotations', 'data_txt')
    return [base / name / inner for name in usual for inner in ('', stem)]


def find_list(
    folders: Iterable[Path], stem: str, facts: PublishedList
) -> Path | None:
    """Look for a list under the names that are in use.

    Args:
        folders: Where to look, the preferred folder first.
        stem: Common beginning of the benchmark's lists.
        facts: The list. ``X_train.txt`` may also be ``X/train.txt``, as in
            LIFT+.

    Returns:
        The first that is there, or None.
    """
    for folder in folders:
        names = [facts.file]
        if folder.name == stem:
            names.append(f'{facts.split}.txt')
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def find_file(folders: Iterable[Path], name: str | None) -> Path | None:
    """Give the first file of that name; None also where there is none."""
    paths = (folder / name for folder in folders if name)
    return next(filter(Path.is_file, paths), None)


def missing_taxonomy(
    benchmark: Benchmark, folders: Iterable[Path], target: Path
) -> str | None:
    """Give the text of a categories file that is still to be written.

    Args:
        benchmark: A benchmark with a ``taxonomy``.
        folders: Where that file, or annotations with categories, may be.
        target: Where the dataset looks for it.

    Returns:
        The text, or None where the file is there and complete.

    Raises:
        ValueError: It is incomplete, or no file tells the categories.
    """
    if target.is_file():
        taxonomy_text(target, benchmark.classes)
        return None
    # The validation annotations say the same and are read sooner.
    notes = [facts.annotations for facts in reversed(benchmark.lists)]
    for name in (benchmark.taxonomy, *notes):
        path = find_file(folders, name)
        if path:
            return taxonomy_text(path, benchmark.classes)
    raise ValueError(
        f'There is no {benchmark.taxonomy}, which the class names come from; '
        f'unpack {benchmark.taxonomy}.tar.gz into {target.parent}.'
    )


def difference(path: Path, text: str) -> str:
    """Say how a list that is there differs from one to be written.

    Args:
        path: The file that is there.
        text: What it should hold. Line ends and empty lines do not count.

    Returns:
        Half a sentence, or an empty string.
    """
    there = path.read_text(encoding='utf-8-sig', errors='replace')
    old, new = (
        [line.strip() for line in lines.splitlines() if line.strip()]
        for lines in (there, text)
    )
    for number, (a, b) in enumerate(zip_longest(old, new), start=1):
        if a != b:
            return f'image {number} is {a!r} instead of {b!r}'
    return ''


def write_files(texts: Mapping[Path, str]) -> None:
    """Write files; each appears whole, and none if one cannot be written.

    Args:
        texts: Text by path.
    """
    parts = {
        path: path.with_name(f'.{path.name}.{os.getpid()}.part')
        for path in texts
    }
    try:
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(texts[path], encoding='utf-8', newline='\n')
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
