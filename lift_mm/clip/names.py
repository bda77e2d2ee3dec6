"""Class names as a text tower wants to read them."""

import os
import re

# They move a terminal's cursor, or turn the direction of what follows.
_UNSEEN = re.compile('[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]')


def clean_name(name: str) -> str:
    """Turn a folder or label name into words.

    Underscores become blanks, runs of white space one blank. Case, hyphens
    and everything else stay (LIFT, head initialisation, does the same).
    """
    return ' '.join(name.replace('_', ' ').split())


def printable(name: str) -> str:
    """Give a name for a line of a table: nothing in it acts on a terminal."""
    return _UNSEEN.sub('\N{REPLACEMENT CHARACTER}', name)


def read_class_names(path: str) -> list[str]:
    """Read a ``class_names.txt``: one name a line, in label order.

    Args:
        path: Text file in UTF-8. Empty lines at the end are ignored.

    Raises:
        ValueError: The file is missing, empty or not UTF-8, or has an empty
            line between names (the labels behind it would shift).
    """
    if not os.path.isfile(path):
        raise ValueError(
            f'There is no class name file {path!r}; give one name a line in '
            'label order, or a list of names (dataset key `classes`).'
        )
    try:
        with open(path, encoding='utf-8-sig') as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(
            f'The class name file {path!r} is not UTF-8 text ({error}); save '
            'it as UTF-8 (dataset key `classes`).'
        ) from error
    names = [line.strip() for line in text.rstrip().split('\n')]
    if not names or '' in names:
        where = names.index('') + 1 if names else 1
        raise ValueError(
            f'{path!r}, line {where}, has no class name; write one name a '
            'line in label order (dataset key `classes`).'
        )
    return names
