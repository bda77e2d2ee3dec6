"""Tuned states that come and go over one resident base."""

import os
from collections.abc import Mapping

import torch
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor, nn

from lift_mm.safe_load import load_file
from lift_mm.tuners import FrozenBase, frozen_keys

from .classifier import LongTailClassifier, _decode, _encode

State = Mapping[str, Tensor]


def read_state(source: str | os.PathLike | State) -> tuple[State, dict]:
    """Give the tensors and the meta of a checkpoint, from its path or not.

    Args:
        source: Path of a checkpoint, what such a file holds, or tensors by
            name.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(source, (str, os.PathLike)):
        source = load_file(source)
    if not isinstance(source, Mapping):
        raise ValueError(
            f'{source!r} is neither the path of a checkpoint nor a dict of '
            'tensors (argument `source`).'
        )
    if isinstance(source.get('state_dict'), Mapping):
        return source['state_dict'], source.get('meta') or {}
    return source, {}


def load_learned(model: nn.Module, checkpoint: str | os.PathLike) -> dict:
    """Load a checkpoint into a new model, which has its base already.

    Args:
        model: What the config of the training run builds, on the CPU.
        checkpoint: One of its checkpoints, or a published tuned file; a path
            or an address.

    Returns:
        The checkpoint's meta.

    Raises:
        ValueError: The checkpoint lacks something that the model learns.
    """
    checkpoint = os.fspath(checkpoint)
    state, meta = read_state(_load_checkpoint(checkpoint, 'cpu'))
    state = {key.removeprefix('module.'): v for key, v in state.items()}
    needed = model.state_dict().keys() - frozen_keys(model)
    lacking = sorted(needed - state.keys() - {'fingerprint'})
    if lacking:
        raise ValueError(
            f'The checkpoint {checkpoint!r} is none of this '
            f'model: it lacks {lacking[0]} and {len(lacking) - 1} more '
            'tensors (keys `model.backbone.tuners` and `model.head`).'
        )
    model.load_state_dict(state, strict=False)
    model._dataset_meta = meta.get('dataset_meta') or {}
    return meta


def tuned_state(model: nn.Module) -> dict[str, Tensor]:
    """Give a copy of all that training changed, and the fingerprint.

    The base is not in it. ``load_tuned`` restores it bit by bit.
    """
    frozen = frozen_keys(model)
    return {
        key: value.detach().clone()
        for key, value in model.state_dict().items()
        if key not in frozen
    }


def load_tuned(
    model: LongTailClassifier, source: str | os.PathLike | State
) -> LongTailClassifier:
    """Swap the tuned state of a model, while its base stays where it is.

    Only learned tensors are copied, which takes milliseconds. The state may
    be for other class names (of the same number): they are taken over.

    Args:
        model: A model in eval mode or not, on any device.
        source: A checkpoint of a training run or of
            ``tools/model_converters/publish_tuned.py``, or what
            :func:`tuned_state` gives. A base tensor that BitFit or the like
            would learn, and that it does not have, goes back to the base's
            value.

    Returns:
        The same model.

    Raises:
        ValueError: The state is for another base, other tuners or another
            number of classes (both are named), or lacks a tensor; nothing
            has changed then.
    """
    state, meta = read_state(source)
    _copy(model, _checked(model, state), meta)
    return model


class TunedBank:
    """Several tuned states over one resident backbone.

    Args:
        model: The model whose tensors are swapped. Its present state is the
            bank's first one, under the name ``None``.

    Example:
        >>> bank = TunedBank(model)
        >>> bank.add('birds', 'birds_20250101-0123abcd.pth')
        >>> logits = bank.use('birds')(images)
    """

    def __init__(self, model: LongTailClassifier) -> None:
        _check_model(model)
        self.model = model
        data = dict(getattr(model, '_dataset_meta', None) or {})
        data.setdefault(
            'class_counts', getattr(model.head, 'class_counts', None)
        )
        meta = dict(dataset_meta=data)
        self._states = {None: (_checked(model, tuned_state(model)), meta)}

    def add(self, name: str, source: str | os.PathLike | State) -> None:
        """Read a state onto the model's device, see :func:`load_tuned`."""
        state, meta = read_state(source)
        self._states[name] = _checked(self.model, state), meta

    def use(self, name: str | None) -> LongTailClassifier:
        """Swap a state in, and give the model.

        Raises:
            ValueError: No state has that name.
        """
        if name not in self._states:
            known = ', '.join(repr(known) for known in self._states)
            raise ValueError(
                f'{name!r} is not in the bank (argument `name`); known: '
                f'{known}.'
            )
        _copy(self.model, *self._states[name])
        return self.model


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, LongTailClassifier):
        raise ValueError(
            'Tuned states are swapped in a lift_mm.LongTailClassifier, which '
            f'knows its base; {type(model).__name__} is none (key '
            '`model.type`).'
        )


def _checked(model: LongTailClassifier, state: State) -> dict[str, Tensor]:
    """Give the tensors to copy, on the model's device and complete."""
    _check_model(model)
    state = {key.removeprefix('module.'): v for key, v in state.items()}
    if 'fingerprint' not in state:
        raise ValueError(
            'The state has no fingerprint, so that its base is unknown: it '
            'is no tuned state of lift_mm (argument `source`).'
        )
    own = model.state_dict()
    guards = {
        name.removesuffix('frozen_base'): module
        for name, module in model.named_modules()
        if isinstance(module, FrozenBase)
    }
    if not all(guard.tuned for guard in guards.values()):
        raise ValueError(
            'Tuned states cannot be swapped inside `disabled(model)` '
            '(argument `model`).'
        )
    stored = _decode(state['fingerprint'])
    model._check(model._identity(stored['classes']), stored, False)
    originals = {
        root + key: value
        for root, guard in guards.items()
        for key, value in guard._originals.items()
    }
    found = {}
    for key in own.keys() - frozen_keys(model):
        value = state.get(key, originals.get(key))
        if key == 'fingerprint':
            value = _encode(model._identity(stored['classes']))
        elif value is None or value.shape != own[key].shape:
            have = 'absent' if value is None else str(tuple(value.shape))
            raise ValueError(
                f'{key} of the tuned state is {have}, the model has '
                f'{tuple(own[key].shape)}; nothing was loaded (argument '
                '`source`).'
            )
        found[key] = value.to(own[key].device)
    return found


@torch.no_grad()
def _copy(model: LongTailClassifier, state: State, meta: dict) -> None:
    own = model.state_dict()
    for key, value in state.items():
        if key != 'fingerprint':
            own[key].copy_(value)
    model.fingerprint = state['fingerprint'].clone()
    data = meta.get('dataset_meta')
    if data:
        model._dataset_meta = data  # inferencers name predictions by it
        if hasattr(model.head, 'class_counts') and 'class_counts' in data:
            model.head.class_counts = data['class_counts']
