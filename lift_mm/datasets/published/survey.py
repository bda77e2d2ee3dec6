"""Comparing what a user has with a benchmark, step by step."""

from collections.abc import Sequence
from pathlib import Path

from .checks import check_lists
from .facts import Benchmark
from .files import find_file, find_list
from .images import missing_images
from .inaturalist import list_from_annotations
from .layouts import choose_form, evenly, forms_on_disk, readable, spell
from .lists import ImageList, load_list, parse_list

SAMPLE = 2000  # images of a list that are looked for at first


def find_lists(
    benchmark: Benchmark, folders: Sequence[Path], problems: list[str]
) -> list[ImageList]:
    """Find and check the lists, or make them of official annotations.

    Args:
        benchmark: What is published.
        folders: Where to look, the preferred folder first.
        problems: Gets a sentence for each list that is not there and each
            fact that does not hold.

    Returns:
        The lists that are there.
    """
    lists = []
    for facts in benchmark.lists:
        path = find_list(folders, benchmark.stem, facts)
        notes = find_file(folders, facts.annotations)
        if path:
            lists.append(load_list(path, facts, benchmark))
        elif notes:
            text = list_from_annotations(notes)
            lists.append(parse_list(text, str(notes), facts, benchmark))
        else:
            other = ''
            if facts.annotations:
                other = f' nor {facts.annotations} (of {facts.json_archive})'
            problems.append(
                f'There is no {facts.file}{other} in {folders[0]}; take it '
                f'from {benchmark.source}, and name its folder (--lists).'
            )
    check_lists(lists, benchmark)
    for found in lists:
        problems += found.failures
    return lists


def choose_forms(
    benchmark: Benchmark,
    root: Path,
    lists: Sequence[ImageList],
    lacking: list[str],
) -> dict[str, str]:
    """Find out how the parts of a download are laid out.

    Args:
        benchmark: What is published.
        root: Root folder of the images.
        lists: Lists that tell which images to try.
        lacking: Gets a sentence for each part that is not there.

    Returns:
        The form of each part that is there, by its name.
    """
    chosen = {}
    for part in benchmark.images:
        forms = forms_on_disk(root, part)
        if not forms:
            looked = ', '.join(map(readable, part.forms))
            lacking.append(
                f'The images of {part.name!r} are not below {root}, looked '
                f'for as {looked}; unpack {part.archive}, or name another '
                'folder (--root).'
            )
            continue
        places = [place for found in lists for place in found.places]
        places = [place for place in places if place.part == part.name]
        chosen[part.name] = choose_form(root, forms, places)
    return chosen


def look_for_images(
    found: ImageList,
    benchmark: Benchmark,
    root: Path,
    forms: dict[str, str],
    lacking: list[str],
    full: bool = False,
    jobs: int = 16,
) -> tuple[int, int]:
    """Look for the images of a list.

    Args:
        found: The list.
        benchmark: Benchmark that it belongs to.
        root: Root folder of the images.
        forms: What :func:`choose_forms` gives.
        lacking: Gets a sentence that names missing images and their archive.
        full: Whether to look for all, not for an even sample.
        jobs: Threads that look.

    Returns:
        How many images were looked for, and how many are missing.
    """
    places = found.places if full else evenly(found.places, SAMPLE)
    lost = 0
    for part in benchmark.images:
        ours = [place for place in places if place.part == part.name]
        if part.name not in forms:
            lost += len(ours)
            continue
        form = forms[part.name]
        paths = [spell(form, place.folder, place.name) for place in ours]
        missing = missing_images(root, paths, full, jobs, progress=full)
        lost += len(missing)
        if missing:
            lacking.append(
                f'{found.facts.file}: {len(missing):,} of {len(paths):,} '
                f'images looked for are missing below {root}, first '
                f'{", ".join(map(repr, missing[:3]))}; {part.archive} holds '
                'them.'
            )
    return len(places), lost
