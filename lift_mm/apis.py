"""What a program does with tuned models: merge them, swap their tuners."""

import copy
import os

from mmengine.config import Config
from mmengine.logging import print_log
from mmpretrain import get_model
from torch import nn

from .models.classifier import LongTailClassifier, _decode, _encode
from .models.heads import TextHead
from .models.tuned_states import (
    TunedBank,
    load_tuned,
    read_state,
    tuned_state,
)
from .tuners import frozen_keys
from .tuners.merge import fold

__all__ = ['TunedBank', 'build_tuned', 'load_tuned', 'merge', 'tuned_state']


def build_tuned(
    cfg: Config, checkpoint: str | os.PathLike
) -> tuple[nn.Module, dict]:
    """Build the model of a config and load what training has learned.

    Args:
        cfg: The config of the training run.
        checkpoint: One of its checkpoints, or a published tuned file.

    Returns:
        The model, on the CPU and in eval mode, and the checkpoint's meta.

    Raises:
        ValueError: The checkpoint lacks something that the model learns.
    """
    model = get_model(cfg, device='cpu')
    state, meta = read_state(checkpoint)
    state = {key.removeprefix('module.'): v for key, v in state.items()}
    needed = model.state_dict().keys() - frozen_keys(model)
    lacking = sorted(needed - state.keys() - {'fingerprint'})
    if lacking:
        raise ValueError(
            f'The checkpoint {os.fspath(checkpoint)!r} is none of this '
            f'model: it lacks {lacking[0]} and {len(lacking) - 1} more '
            'tensors (keys `model.backbone.tuners` and `model.head`).'
        )
    model.load_state_dict(state, strict=False)
    model._dataset_meta = meta.get('dataset_meta') or {}
    return model, meta


def class_card(meta: dict) -> dict:
    """Give class names and counts of a checkpoint's meta in plain types."""
    data = meta.get('dataset_meta') or {}
    found = {}
    if data.get('classes') is not None:
        found['classes'] = [str(name) for name in data['classes']]
    if data.get('class_counts') is not None:
        found['class_counts'] = [int(n) for n in data['class_counts']]
    return found


def merge(
    model: nn.Module,
    strict: bool = False,
    widen: bool = True,
    log: bool = True,
) -> nn.Module:
    """Give a copy without tuners that computes the same function.

    LoRA, SSF and MaskedTuning are folded into the weights, BitFit,
    NormTuning and FullTuning are there already, and AdaptFormer becomes a
    part of a wider MLP, see :mod:`lift_mm.tuners.merge`. Adapter and VPT
    cannot be merged; they stay in the copy and keep working. A TextHead that
    knows its class names becomes a CosineHead, and the text tower vanishes.

    Args:
        model: A model or backbone with tuners; it is left as it is.
        strict: Refuse a model of which something cannot be merged.
        widen: Whether AdaptFormer may widen MLPs.
        log: Whether to log what stays.

    Returns:
        The copy, frozen and in eval mode. Its attribute ``unmerged`` lists
        what stays and why, one sentence a tuner.

    Raises:
        ValueError: Something cannot be merged, and ``strict`` is set.
    """
    merged = copy.deepcopy(model)
    merged.eval()  # returns nothing in some backbones of mmpretrain
    head = getattr(merged, 'head', None)
    if isinstance(head, TextHead) and head.class_names is not None:
        merged.head = head.to_cosine().eval()
    merged.unmerged = fold(merged, widen)
    if strict and merged.unmerged:
        raise ValueError(
            f'Not everything can be merged: {" ".join(merged.unmerged)} '
            'Drop `strict`, or these tuners (key `backbone.tuners`).'
        )
    for sentence in merged.unmerged if log else ():
        print_log(f'Not merged: {sentence}', logger='current')
    for module in merged.modules():
        if isinstance(module, LongTailClassifier):
            classes = _decode(module.fingerprint)['classes']
            buffer = _encode(module._identity(classes))
            module.fingerprint = buffer.to(module.fingerprint.device)
    return merged
