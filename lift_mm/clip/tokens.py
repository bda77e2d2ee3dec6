"""Texts that a text tower cannot read, refused by name."""

from collections.abc import Iterable, Sequence


def check_lengths(
    encode, texts: Iterable[str], context_length: int, remedy: str
) -> None:
    """Refuse texts with more tokens than a tower reads.

    Args:
        encode: The tokenizer's function from text to ids.
        texts: Prompts.
        context_length: What the tower reads, with start and end token.
        remedy: What to do about it, and the config keys.

    Raises:
        ValueError: One is too long; it is named.
    """
    for text in texts:
        length = len(encode(text)) + 2  # start and end token
        if length > context_length:
            raise ValueError(
                f'The prompt {text!r} has {length} tokens and the text tower '
                f'reads {context_length}; {remedy}.'
            )


def check_rows(
    decode,
    texts: Sequence[str],
    tokens: Sequence[Iterable[int]],
    rows: set[int] | None,
    source: str,
) -> None:
    """Refuse tokens that a compact embedding does not have.

    Args:
        decode: The tokenizer's function from ids to text.
        texts: N prompts.
        tokens: Their ids.
        rows: The ids that are there; None for all.
        source: Name of the weights.

    Raises:
        ValueError: One is absent; prompt and word are named.
    """
    for text, row in zip(texts, tokens if rows is not None else ()):
        lacking = set(row) - rows
        if lacking:
            words = decode(sorted(lacking)).strip()
            raise ValueError(
                f'The weights {source!r} have no embedding for {words!r} in '
                f'the prompt {text!r}: they store only the words they were '
                'trained with; use another class name or full weights.'
            )
