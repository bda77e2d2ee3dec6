"""Other class names for a model that compares images with texts."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from lift_mm.clip.arch import is_projected, model_config
from lift_mm.clip.templates import resolve_templates

from .classifier import _UNKNOWN, LongTailClassifier, _encode, _kind
from .heads import TextHead
from .inits import SemanticInit


@torch.no_grad()
def set_class_names(
    model: nn.Module,
    names: Sequence[str],
    template: str | Sequence[str] | None = None,
) -> nn.Module:
    """Let a model tell other classes apart, by the text features of names.

    The rows of a head with ``SemanticInit`` become those that a training
    would start from; what training has made of them is lost. A ``TextHead``
    computes new ones. There may be more or fewer classes than before. Their
    training counts are unknown then: this is for predicting.

    Args:
        model: A model with such a head.
        names: The new class names.
        template: A prompt with ``{}``, several, or a name of
            :func:`lift_mm.clip.templates.resolve_templates`; None keeps the
            model's.

    Returns:
        The same model.

    Raises:
        TypeError: ``names`` is no list of strings.
        ValueError: The model has no text tower, or it cannot read a name or
            the template; nothing has changed then.
    """
    names = _checked(names)
    head = getattr(model, 'head', None)
    if isinstance(head, TextHead):
        _rename_texts(head, names, template)
    elif isinstance(getattr(head, 'init', None), SemanticInit):
        _start_rows(head, names, template)
    else:
        raise ValueError(
            f'The classes of a {type(head).__name__} without text tower '
            'cannot be changed; it takes a lift_mm.TextHead, or a head that '
            'starts from class names and the weights of a CLIP (key '
            '`model.head.init`).'
        )
    head.class_counts = None
    if isinstance(model, LongTailClassifier):
        device = model.fingerprint.device
        model.fingerprint = _encode(model._identity(_UNKNOWN)).to(device)
        model.set_class_info(names)
    model._dataset_meta = dict(classes=names)
    return model


def zero_shot_config(model: dict, num_classes: int) -> dict:
    """Give the config of CLIP's own classifier, with a model's backbone.

    Args:
        model: Config of a model on a CLIP, tuned or not.
        num_classes: Number of classes.

    Returns:
        Config of a ``LongTailClassifier`` with a ``TextHead`` and the
        prompts of ``model``.

    Raises:
        ValueError: The backbone is no CLIP with weights.
    """
    backbone, head = model['backbone'], model.get('head') or {}
    if _kind(backbone) == 'TunedBackbone':
        backbone = backbone['backbone']
    if 'CLIP' not in _kind(backbone) or not backbone.get('pretrained'):
        raise ValueError(
            f'{_kind(backbone)} has no text tower, so there is no zero-shot '
            'classifier beside it; it takes a CLIP with weights (keys '
            '`model.backbone.type` and `model.backbone.pretrained`).'
        )
    neck = None
    default = 'RN50' if 'ResNet' in _kind(backbone) else 'ViT-B-16'
    if not is_projected(model_config(backbone.get('arch', default))):
        neck = dict(type='lift_mm.CLIPProjection')
    prompts = head if _kind(head) == 'TextHead' else head.get('init') or {}
    keys = ('template', 'templates')
    # None would hide the one that a config has beside its model.
    given = {k: model[k] for k in ('data_preprocessor',) if model.get(k)}
    return dict(
        type='lift_mm.LongTailClassifier',
        **given,
        backbone=backbone,
        neck=neck,
        head=dict(
            type='lift_mm.TextHead',
            num_classes=num_classes,
            chunk_size=256,  # thousands of classes fit into memory
            **{key: prompts[key] for key in keys if prompts.get(key)},
        ),
    )


def _checked(names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not all(isinstance(n, str) for n in names):
        raise TypeError(
            f'names={names!r} must be a list of strings (argument `names`).'
        )
    empty = [i for i, name in enumerate(names) if not name.strip()]
    if not names or empty:
        what = f'class name {empty[0]} is empty' if empty else 'none is there'
        raise ValueError(
            f'Class names have to be words, and {what} (argument `names`).'
        )
    return list(names)


def _rename_texts(
    head: TextHead, names: list[str], template: str | Sequence[str] | None
) -> None:
    rows = head.rows
    before = head.num_classes, rows.templates
    if template is not None:
        if rows.prompt is not None:
            raise ValueError(
                f'template={template!r} has no use in a TextHead whose '
                'prompt was learned; leave it out (argument `template`).'
            )
        rows.templates = resolve_templates(template)
    head.num_classes = len(names)
    try:
        head.set_class_info(names)
    except ValueError:
        head.num_classes, rows.templates = before
        raise


def _start_rows(
    head: nn.Module, names: list[str], template: str | Sequence[str] | None
) -> None:
    init = copy.copy(head.init)
    if template is not None:
        init.templates = resolve_templates(template)
    old = head.fc.weight
    layer = head.build_fc(head.fc.in_features, len(names)).to(old)
    layer.requires_grad_(old.requires_grad)
    layer.weight.copy_(init(names, layer.weight))
    if layer.bias is not None:
        layer.bias.zero_()
    head.init, head.fc, head.num_classes = init, layer, len(names)
    head.set_class_info(names)
    head.is_init = True
