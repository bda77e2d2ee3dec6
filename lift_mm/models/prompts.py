"""Prompts with learned words (CoOp)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import MODELS
from lift_mm.tuners import TunerModule

from .text_tokens import tokenize, tokenizer_of

_PLACES = ('front', 'middle', 'end')


def context_template(length: int, position: str) -> str:
    """Give a template with placeholders 'X' for learned words.

    Args:
        length: Number of placeholders, m.
        position: Place of the class name: ``'end'``, ``'front'``, or
            ``'middle'``, behind the first half of them.
    """
    before = dict(front=0, middle=length // 2, end=length)[position]
    words = ['X'] * before + ['{}'] + ['X'] * (length - before)
    return ' '.join(words) + '.'


def context_positions(
    name_lengths: Sequence[int], length: int, position: str
) -> Tensor:
    """Say where the placeholders of :func:`context_template` stand.

    Args:
        name_lengths: Tokens of each class name, C numbers.
        length: Number of placeholders, m.
        position: Place of the class name.

    Returns:
        (C, m), counted in the text without its start token.
    """
    before = dict(front=0, middle=length // 2, end=length)[position]
    steps = torch.arange(length)
    behind = torch.tensor(list(name_lengths))[:, None] * (steps >= before)
    return steps + behind


@MODELS.register_module()
class CoOp(TunerModule):
    """Learned words around every class name (Zhou et al., IJCV 2022).

    The words are the same for all classes. Without tuners (``disabled``) the
    prompt reads as it is written: the phrase, or 'X X X X'.

    Args:
        text: The text tower; :class:`TextHead` gives it.
        length: Number of learned words, m; None takes 4, or as many as
            ``init`` has tokens.
        position: Place of the class name: ``'end'``, ``'middle'`` or
            ``'front'``.
        init: None draws words with deviation 0.02; a phrase such as
            ``'a photo of a'`` starts from its token embeddings.

    Raises:
        ValueError: A setting is impossible.
    """

    stays = 'its words are read by the text tower'

    def __init__(
        self,
        text: nn.Module,
        length: int | None = None,
        position: str = 'end',
        init: str | None = None,
    ) -> None:
        super().__init__()
        if position not in _PLACES:
            raise ValueError(
                f'position={position!r} of CoOp must be one of '
                f'{", ".join(map(repr, _PLACES))} (key '
                '`model.head.prompt.position`).'
            )
        self.phrase = None if init is None else _phrase_tokens(text, init)
        known = 4 if self.phrase is None else len(self.phrase)
        length = known if length is None else length
        if not isinstance(length, int) or length < 1:
            raise ValueError(
                f'length={length!r} of CoOp must be None or an int of at '
                'least 1 (key `model.head.prompt.length`).'
            )
        if self.phrase is not None and length != known:
            raise ValueError(
                f'length={length} of CoOp contradicts init={init!r}, which '
                f'has {known} tokens; drop the key '
                '`model.head.prompt.length`.'
            )
        self.position = position
        self.init = init
        self.template = context_template(length, position)
        table = text.token_embedding.weight
        if self.phrase is None:
            self.context = Parameter(torch.empty(length, table.shape[1]))
            nn.init.normal_(self.context, std=0.02)
        else:
            self.context = Parameter(table[self.phrase].detach().clone())
        self.readable = True  # whether each placeholder has an embedding

    def tokenize(
        self, text: nn.Module, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Turn class names into prompts and the places of learned words.

        Args:
            text: The text tower.
            names: C cleaned names.

        Returns:
            Tokens (C, L) and places (C, m) in them.

        Raises:
            ValueError: See :func:`~.text_tokens.tokenize`.
        """
        length = len(self.context)
        texts = [self.template.replace('{}', name) for name in names]
        encode = tokenizer_of(text).encode
        places = 1 + context_positions(
            [len(encode(name)) for name in names], length, self.position
        )
        tokens = tokenize(text, texts, free=places)
        if self.phrase is not None:
            tokens.scatter_(1, places, self.phrase.expand(len(names), -1))
        elif text.known_tokens is not None:
            words = set(tokens.gather(1, places).flatten().tolist())
            self.readable = words <= text.known_tokens
        return tokens, places

    def forward(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """Put the learned words in, (N, L, width) -> (N, L, width).

        Args:
            embeddings: Of the prompts' tokens.
            places: Where the words stand, (N, m).

        Raises:
            ValueError: It is disabled and the weights lack the placeholder.
        """
        if not self.enabled:
            if not self.readable:
                raise ValueError(
                    "The weights of the text tower have no embedding for 'X',"
                    ' so that the prompt cannot be read without its learned '
                    'words; start from a phrase (key '
                    '`model.head.prompt.init`).'
                )
            return embeddings
        where = places[:, :, None].expand(-1, -1, embeddings.shape[2])
        words = self.context.to(embeddings.dtype).expand_as(where)
        return embeddings.scatter(1, where, words)

    def spec(self) -> dict:
        """Settings that a tuned state depends on."""
        return dict(
            type='CoOp', length=len(self.context), position=self.position
        )


def _phrase_tokens(text: nn.Module, phrase: str) -> Tensor:
    """Give the ids of a phrase without start and end token, (m,)."""
    length = 0
    if isinstance(phrase, str):
        length = len(tokenizer_of(text).encode(phrase))
    if not length:
        raise ValueError(
            f'init={phrase!r} of CoOp must be None or a phrase such as '
            "'a photo of a' (key `model.head.prompt.init`)."
        )
    return tokenize(text, [phrase])[0, 1 : 1 + length]
