"""How the paths of one download are spelled, and which spelling is there.

An image is known by its part of the download, the folder of its class and
its file name. A *form* such as ``'val/{folder}/{name}'`` turns that into a
path, and a path back into it.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .facts import ImageFolder

_FIELDS = {
    '{folder}': '(?P<folder>.+)',
    '{tree}': '[^/]/(?P<tree>.+)',
    '{name}': '(?P<name>[^/]+)',
}
_READABLE = {
    '{folder}': '<class>',
    '{tree}': '<letter>/<class>',
    '{name}': '<image>',
}


class Place(NamedTuple):
    """Where an image belongs.

    ``folder`` is empty in a form without class folders.
    """

    part: str
    folder: str
    name: str


def spell(form: str, folder: str, name: str) -> str:
    """Give the path of an image.

    Args:
        form: One of :attr:`ImageFolder.forms`.
        folder: Folder of the class.
        name: Name of the file.

    Returns:
        The path below the root, with slashes.
    """
    return form.format(folder=folder, name=name)


def place_of(path: str, parts: Sequence[ImageFolder]) -> Place | None:
    """Read a path in whatever known form it is.

    Args:
        path: Path below the root, with slashes.
        parts: The parts of the download.

    Returns:
        Part, class folder and name; None for a path of no known form.
    """
    for part in parts:
        for form in (*part.forms, *part.other):
            found = _pattern(form).fullmatch(path)
            if found:
                fields = found.groupdict()
                tree = fields.get('tree') or ''
                folder = fields.get('folder') or tree.replace('/', '-')
                return Place(part.name, folder, fields['name'])
    return None


def readable(form: str) -> str:
    """Write a form for a reader, ``val/<class>/<image>``.

    Args:
        form: Form of a path, as in :class:`ImageFolder`.
    """
    return _replaced(form, _READABLE)


def forms_on_disk(root: Path, part: ImageFolder) -> list[str]:
    """Give the forms whose outer folder is below ``root``."""
    return [form for form in part.forms if (root / prefix(form)).is_dir()]


def prefix(form: str) -> str:
    """Give the part of a form that is the same for all images."""
    return form.split('{')[0]


def choose_form(
    root: Path, forms: Sequence[str], places: Sequence[Place]
) -> str:
    """Choose the form under which most images are found.

    Args:
        root: Root folder of the download.
        forms: Forms that may be there, the preferred one first.
        places: Images of that part of the download; 100 are looked for.
    """

    def found(form: str) -> int:
        paths = (spell(form, p.folder, p.name) for p in evenly(places, 100))
        return sum((root / path).is_file() for path in paths)

    return max(forms, key=found)


def evenly(items: Sequence, size: int) -> list:
    """Pick up to ``size`` items, spread evenly over a sequence."""
    picked = np.linspace(0, len(items) - 1, min(size, len(items)))
    return [items[place] for place in picked.round().astype(int)]


@cache
def _pattern(form: str) -> re.Pattern:
    return re.compile(_replaced(re.escape(form), _escaped(_FIELDS.items())))


def _escaped(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {re.escape(field): pattern for field, pattern in fields}


def _replaced(text: str, fields: dict[str, str]) -> str:
    for field, value in fields.items():
        text = text.replace(field, value)
    return text
