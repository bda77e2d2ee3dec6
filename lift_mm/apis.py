"""What a program does with tuned models: predict, merge, export, swap."""

import copy
import json
import os
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmpretrain import get_model
from torch import Tensor, nn

import lift_mm

from . import deploy, whole_files
from .inferencer import LongTailInferencer
from .models.class_names import set_class_names
from .models.classifier import LongTailClassifier, _decode, _encode
from .models.heads import TextHead
from .models.tuned_states import (
    TunedBank,
    load_learned,
    load_tuned,
    tuned_state,
)
from .tuners.merge import fold

__all__ = [
    'LongTailInferencer',
    'TunedBank',
    'build_tuned',
    'export',
    'load_tuned',
    'merge',
    'set_class_names',
    'tuned_state',
]


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
    return model, load_learned(model, checkpoint)


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


def export(
    model: nn.Module,
    path: str | os.PathLike,
    format: str | None = None,
    pipeline: Sequence[dict] | None = None,
    images: Tensor | None = None,
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.uint8,
    opset: int | None = None,
) -> dict[str, float]:
    """Write a model as one file that runs without this package.

    Tuners are merged, or stay in the graph where they cannot be. The graph
    reads ``images`` (B, 3, H, W), red, green, blue, 0..255, resized and
    cropped, any B, and gives ``logits`` (B, C). The file says how a picture
    becomes such an image and what the classes are called. What it computes
    is compared with the model before anything is written.

    Args:
        model: A classifier, as ``get_model`` or :func:`build_tuned` gives
            it; it is left as it is.
        path: Where to write; a file that is there is replaced.
        format: ``'onnx'``, ``'torch-export'`` or ``'torchscript'``; None
            goes by the path's ending, .onnx, .pt2 or .ts.
        pipeline: The transforms of a test; None takes those of the config
            that the model was built from.
        images: Images to compare on besides random ones, (B, 3, H, W) in
            uint8, as the pipeline gives them.
        size: Height and width of the images; None takes what the pipeline
            cuts out, or else what the backbone was built for.
        dtype: Type of the images, ``torch.uint8`` or ``torch.float32``.
        opset: Version of ONNX's operators; None is 20.

    Returns:
        The largest difference of logits, ``'random'`` and ``'images'``, as
        a share of the largest logit.

    Raises:
        ImportError: A package of the extra ``export`` is missing.
        TypeError: The model is none with a head and a preprocessor.
        ValueError: An argument is impossible, the pipeline cannot be
            described, or the file computes something else than the model.
    """
    kind = deploy.kind_of(path, format, opset)
    if dtype not in (torch.uint8, torch.float32):
        raise ValueError(
            f'dtype={dtype} must be torch.uint8 or torch.float32 (argument '
            '`dtype`).'
        )
    if pipeline is None:
        pipeline = deploy.test_pipeline(model)
    reads = deploy.channel_order(pipeline)
    size = size or deploy.image_size(model, pipeline)
    known = class_card(dict(dataset_meta=getattr(model, '_dataset_meta', {})))
    known['preprocessing'] = deploy.card(pipeline, size, dtype)
    facts = {key: json.dumps(value) for key, value in known.items()}
    facts['lift_mm_version'] = lift_mm.__version__

    tuned = copy.deepcopy(model).cpu()
    tuned.eval()
    if getattr(tuned.head, 'class_counts', 0) is None:
        tuned.head.class_counts = known.get('class_counts')  # as a test does
    graph = deploy.exportable(merge(tuned), reads)
    data = deploy.write(kind, graph, size, facts, dtype, opset)

    run = deploy.read_back(data, kind)
    noise = deploy.random_images(4, size)
    found = {
        name: deploy.difference(tuned, run, batch, reads, dtype)
        for name, batch in dict(random=noise, images=images).items()
        if batch is not None
    }
    whole_files.write(data, path)
    return found
