"""Paths of a dataset from anywhere: they stay in its root folder."""

import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

_ADVICE = (
    'if you trust the data, set the dataset key `allow_outside=True`, else '
    'take that away'
)


def leaves(path: str) -> bool:
    """Say whether a path of a list leaves the root, whatever the system."""
    return (
        '..' in path.replace('\\', '/').split('/')
        or path.startswith(('/', '\\', '~'))
        or bool(PureWindowsPath(path).drive)
    )


def refuse_outside(path: str, root: str) -> None:
    """Refuse a path that leads out of a folder by links.

    Args:
        path: What may be a link, or lie behind one.
        root: The folder, which may be a link itself.

    Raises:
        ValueError: It leads out; the link's target is named.
    """
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise ValueError(
            f'{path!r} leads by a link to {real!r}, out of {root!r}; '
            f'{_ADVICE} (dataset key `data_root`).'
        )


def refuse_leaving(path: str, where: str) -> None:
    """Refuse a path of a list that leaves the root folder by its text.

    Args:
        path: The path as it stands there.
        where: List and line, for the message.

    Raises:
        ValueError: It is absolute or has a ``..``.
    """
    if leaves(path):
        raise ValueError(
            f'{where}, names {path!r}, which leaves the root folder; '
            f'{_ADVICE} (dataset key `ann_file`).'
        )


def files_below(
    folder: str, root: str | None, above: tuple[str, ...] = ()
) -> Iterator[str]:
    """Give the files of a folder and of those in it.

    Args:
        folder: The folder; hidden files and folders in it are ignored.
        root: Where links may lead to; None lets them lead anywhere.
        above: Real paths of the folders that this one lies in.

    Yields:
        Paths that begin with ``folder``.

    Raises:
        ValueError: A link leads out of ``root``, or round in a circle.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise ValueError(
            f'{folder!r} is a link to a folder that it lies in; take it away '
            '(dataset key `data_root`).'
        )
    if root is not None:
        refuse_outside(folder, root)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                yield from files_below(entry.path, root, (*above, real))
            elif entry.is_file():
                if root is not None and entry.is_symlink():
                    refuse_outside(entry.path, root)
                yield entry.path
