"""Names and paths in the text of a config that is written."""

from .clip.names import printable


def literal(value: object) -> str:
    """Give the text of a value, from which a config reads it back.

    A config is a program, and mmengine replaces ``{{...}}`` even within its
    strings before it runs: a folder of such a name could end the string.

    Args:
        value: A text, a number, or lists and dicts of them.
    """
    return repr(value).replace('{{', '{\\x7b')


def comment(text: str) -> str:
    """Give a text that can stand in a comment of a config."""
    return printable(' '.join(text.split())).replace('{{', '{ {')
