"""Looking for image files, many at once."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from lift_mm.progress import track


def missing_images(
    root: Path,
    paths: Sequence[str],
    listing: bool = False,
    jobs: int = 16,
    progress: bool = False,
) -> list[str]:
    """Give the images that are not there.

    Args:
        root: Root folder.
        paths: Paths below it, with slashes.
        listing: Read each folder once instead of asking for each file. It
            is the faster way where most files of a folder are in ``paths``.
        jobs: Threads; the work is waiting for the disk.
        progress: Whether to show a progress bar.

    Returns:
        Those of ``paths`` that are no files, in their order.
    """
    if not listing:
        there = _mapped(root.joinpath, paths, Path.is_file, jobs, progress)
        return [path for path, ok in zip(paths, there) if not ok]
    folders = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition('/')
        folders[folder].append(name)
    names = _mapped(root.joinpath, folders, _files, jobs, progress)
    held = dict(zip(folders, names))
    split = (path.rpartition('/') for path in paths)
    return [
        path
        for path, (folder, _, name) in zip(paths, split)
        if name not in held[folder]
    ]


def _files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _mapped(
    place: Callable[[str], Path],
    items: Iterable[str],
    look: Callable[[Path], object],
    jobs: int,
    progress: bool,
) -> list:
    items = list(items)
    with ThreadPool(jobs) as pool:
        chunk = max(1, min(64, len(items) // jobs))
        found = pool.imap(lambda x: look(place(x)), items, chunk)
        what = 'Looking for images'
        return list(track(found, what, len(items), show=progress, logger=None))
