"""CLIP's text tower: what of it can be built, and its keys there."""

import torch
from torch import Tensor

from .weights import _BLOCK_KEYS, State

_DEFAULTS = dict(
    context_length=77,
    vocab_size=49408,
    width=512,
    heads=8,
    layers=12,
    mlp_ratio=4.0,
    ls_init_value=None,
)
# Further fields of open_clip's `text_cfg` with the values that fit; of all
# others only None, False, zero and empty ones do.
_CHOICES = {
    'pool_type': ('argmax',),
    'proj_type': ('linear',),
    'block_type': (None, 'default'),
}
# Read with other kinds of towers, or by nobody who asks for features.
_IGNORED = {
    'eos_id',
    'hf_model_pretrained',
    'hf_pooler_type',
    'hf_proj_type',
    'output_tokens',
    'pad_id',
}
_KEYS = {
    'token_embedding',
    'positional_embedding',
    'ln_final',
    'text_projection',
    'logit_scale',
}


def text_config(config: dict) -> dict:
    """Give the text tower's settings with every default filled in.

    Args:
        config: A model config as :func:`~.arch.model_config` gives it.

    Raises:
        ValueError: No text tower, or none of CLIP's own kind (a causal
            transformer that reads its feature at the end token); the field
            is named.
    """
    if 'text_cfg' not in config:
        raise ValueError(
            'The model config in `arch` has no `text_cfg`, so there is no '
            'text tower to build (key `model.head.text`).'
        )
    text = {**_DEFAULTS, **config['text_cfg']}
    reason = None
    for key, value in text.items():
        if key in _DEFAULTS or key in _IGNORED or not value:
            continue
        if value not in _CHOICES.get(key, ()):
            reason = f'{key}={value!r}'
            break
    if text['vocab_size'] < _DEFAULTS['vocab_size']:
        reason = (
            f'vocab_size={text["vocab_size"]!r}, less than the '
            f"{_DEFAULTS['vocab_size']} of CLIP's tokenizer"
        )
    if reason:
        raise ValueError(
            "CLIPText builds CLIP's own text tower only, and this one has "
            f'{reason} (key `model.head.text`).'
        )
    return text


def text_key(key: str) -> str | None:
    """Give the key in ``TextTransformer`` of a CLIP key.

    Args:
        key: A key in OpenAI's or open_clip's naming, e.g.
            ``transformer.resblocks.3.ln_1.weight``, with ``text.`` in front
            in some models of open_clip.

    Returns:
        The other key (``layers.3.ln1.weight``), or None where the text
        tower has no such tensor.
    """
    key = key.removeprefix('text.')
    if not key.startswith('transformer.resblocks.'):
        return key if key.partition('.')[0] in _KEYS else None
    index, key = key[len('transformer.resblocks.') :].split('.', 1)
    if key in _BLOCK_KEYS:
        return f'layers.{index}.{_BLOCK_KEYS[key]}'
    stem, _, leaf = key.rpartition('.')
    if stem not in _BLOCK_KEYS:
        return None
    return f'layers.{index}.{_BLOCK_KEYS[stem]}.{leaf}'


def to_text(state: State) -> State:
    """Turn a CLIP state dict into one of ``TextTransformer``.

    Args:
        state: CLIP state dict; only its text tower and ``logit_scale`` are
            looked at.

    Returns:
        New state dict in float32; empty where there is no text tower.
    """
    found = {text_key(key): value for key, value in state.items()}
    found.pop(None, None)
    if found.keys() <= {'logit_scale'}:
        return {}
    out = {
        key: value if key.endswith('.ids') else value.float()
        for key, value in found.items()
    }
    if 'logit_scale' in out:  # of shape (1,) in some models
        out['logit_scale'] = out['logit_scale'].reshape(())
    return out


def expand_token_rows(state: State, own: State) -> set[int] | None:
    """Undo the compact form of a token embedding, rows and their ids.

    A file may store only the rows that its captions used; which ones is
    given back, so that no prompt silently reads an absent row.

    Args:
        state: Weights about to be loaded; changed in place.
        own: The tower's own state, for the size of the whole.

    Returns:
        Ids with a row, or None where all of them have one.
    """
    known = None
    for key in [k for k in state if k.endswith('token_embedding.rows')]:
        stem = key.removesuffix('.rows')
        rows, ids = state.pop(key), state.pop(stem + '.ids').long()
        full: Tensor = torch.zeros_like(own[stem + '.weight'])
        full[ids] = rows
        state[stem + '.weight'] = full
        known = set(ids.tolist())
    return known
