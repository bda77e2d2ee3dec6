"""From prompts to the token ids that a text tower reads."""

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor, nn

from lift_mm.clip.tokens import check_lengths, check_rows

_REMEDY = (
    'shorten this class name (dataset key `classes`) or the prompt (keys '
    '`model.head.templates` and `model.head.prompt`)'
)


@lru_cache(maxsize=4)
def _tokenizer(context_length: int):
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)


def tokenizer_of(text: nn.Module):
    """Give the tokenizer of a text tower of :func:`CLIPText`."""
    return _tokenizer(text.context_length)


def tokenize(
    text: nn.Module, texts: Sequence[str], free: Tensor | None = None
) -> Tensor:
    """Turn prompts into token ids, (N, L).

    L is what the longest prompt needs: a causal tower computes the same
    without the padding behind it, at a fraction of the cost.

    Args:
        text: The text tower.
        texts: N prompts.
        free: Places (N, m) whose tokens are replaced and so need not have an
            embedding.

    Raises:
        ValueError: A prompt is longer than the tower reads, or has a word
            for which the weights have no embedding; the prompt is named.
    """
    tokenizer = tokenizer_of(text)
    check_lengths(tokenizer.encode, texts, text.context_length, _REMEDY)
    tokens = tokenizer(list(texts))
    tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
    needed = tokens if free is None else tokens.scatter(1, free, 49406)
    check_rows(
        tokenizer.decode,
        texts,
        needed.tolist(),
        text.known_tokens,
        text.source,
    )
    return tokens
