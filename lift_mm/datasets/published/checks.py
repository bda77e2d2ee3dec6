"""Comparing a list with what is published about it."""

import hashlib
from collections.abc import Sequence

import numpy as np

from lift_mm.evaluation import shot_groups

from .facts import Benchmark
from .lists import ImageList, published_text


def check_lists(lists: Sequence[ImageList], benchmark: Benchmark) -> None:
    """Check all lists of a benchmark; see :attr:`ImageList.failures`.

    Args:
        lists: The lists, with or without class folders, which are filled in.
        benchmark: What is published about them.
    """
    resolve_folders(lists)
    for found in lists:
        check_lines(found)
        check_counts(found, benchmark)
    check_mapping(lists, benchmark)


def resolve_folders(lists: Sequence[ImageList]) -> None:
    """Fill in the class folders that a form without them leaves out.

    Args:
        lists: All lists of a benchmark. The folder of a label is taken from
            the images that have one.
    """
    folders = {
        label: place.folder
        for found in lists
        for place, label in zip(found.places, found.labels)
        if place.folder
    }
    for found in lists:
        lost = set()
        for index, place in enumerate(found.places):
            if not place.folder:
                label = found.labels[index]
                folder = folders.get(label, '')
                found.places[index] = place._replace(folder=folder)
                lost |= set() if folder else {label}
        if lost:
            found.fail(
                'class folders',
                'one for each label, in the training list',
                f'none for {_some(sorted(lost))}',
            )


def check_lines(found: ImageList) -> None:
    """Name images that a list has twice, with one label or with two."""
    first, twice, torn = {}, [], []
    for place, label, number in zip(found.places, found.labels, found.lines):
        before = first.setdefault(place, (label, number))
        if before[1] != number:
            same = before[0] == label
            (twice if same else torn).append((place.name, before[1], number))
    for fact, bad in (
        ('repeated lines', twice),
        ('images of two labels', torn),
    ):
        if bad:
            name, one, two = bad[0]
            found.fail(
                fact, 0, f'{len(bad):,}, first {name!r} in lines {one}, {two}'
            )


def check_counts(found: ImageList, benchmark: Benchmark) -> None:
    """Compare number of lines, labels, class sizes and digests."""
    facts = found.facts
    if len(found.labels) != facts.lines:
        found.fail('images', facts.lines, len(found.labels))
    largest = max(found.labels, default=0)
    if largest >= benchmark.classes:
        found.fail(
            'labels',
            f'0 to {benchmark.classes - 1}',
            f'{largest} in line {found.lines[found.labels.index(largest)]}',
        )
        return
    labels = np.asarray(found.labels, np.int64)
    counts = np.bincount(labels, minlength=benchmark.classes)
    present = int((counts > 0).sum())
    if present != benchmark.classes:
        empty = np.flatnonzero(counts == 0).tolist()
        lost = f'{present:,}, none of label {_some(empty)}'
        found.fail('classes', benchmark.classes, lost)
    for fact, expected, value in (
        ('images of the largest class', facts.largest, int(counts.max())),
        ('images of the smallest class', facts.smallest, int(counts.min())),
        ('many/medium/few classes', facts.groups, groups_of(counts)),
    ):
        if expected is not None and value != expected:
            found.fail(fact, expected, value)
    if facts.counts_sha256:
        digest = hashlib.sha256(','.join(map(str, counts)).encode())
        if digest.hexdigest() != facts.counts_sha256:
            found.fail(
                'SHA-256 of the counts by label',
                facts.counts_sha256,
                digest.hexdigest(),
            )
    if facts.md5 and all(place.folder for place in found.places):
        _check_md5(found, published_text(found, benchmark))


def groups_of(counts: Sequence[int]) -> tuple[int, ...]:
    """Count the classes with many, medium and few images.

    Args:
        counts: Training images of each class.
    """
    return tuple(map(len, shot_groups(counts).values()))


def check_mapping(lists: Sequence[ImageList], benchmark: Benchmark) -> None:
    """Compare labels with class folders, over all lists of a benchmark."""
    folder_of, label_of = {}, {}
    for found in lists:
        torn = []
        rows = zip(found.places, found.labels, found.lines)
        for (_, folder, _), label, number in rows:
            if not folder:
                continue
            one = folder_of.setdefault(label, folder)
            other = label_of.setdefault(folder, label)
            if one != folder or other != label:
                torn.append((number, folder, label, one, other))
        if torn:
            number, folder, label, one, other = torn[0]
            other = repr(one) if one != folder else f'label {other}'
            more = f' and {len(torn) - 1:,} more' if torn[1:] else ''
            found.fail(
                f'line {number}',
                'one class folder for each label in all lists',
                f'label {label} for {folder!r}, before {other}{more}',
            )
    wanted = {}
    if benchmark.labels == 'rank':
        wanted = {folder: i for i, folder in enumerate(sorted(label_of))}
    elif benchmark.labels == 'folder':
        wanted = {folder: _number(folder) for folder in label_of}
    wrong = [f for f, label in wanted.items() if label_of[f] != label]
    if wrong and len(label_of) == benchmark.classes:
        lists[0].fail(
            f'label of {wrong[0]!r}', wanted[wrong[0]], label_of[wrong[0]]
        )


def _number(folder: str) -> int | None:
    name = folder.rpartition('/')[2]
    return int(name) if name.isdecimal() else None


def _check_md5(found: ImageList, text: str) -> None:
    digest = _md5(text)
    if digest == found.facts.md5:
        return
    ordered = ''.join(sorted(text.splitlines(keepends=True)))
    if _md5(ordered) == found.facts.sorted_md5:
        found.notes.append('the published lines in another order')
        return
    found.fail('MD5', found.facts.md5, digest)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _some(labels: Sequence[int]) -> str:
    more = f' and {len(labels) - 3:,} more' if labels[3:] else ''
    return ', '.join(map(str, labels[:3])) + more
