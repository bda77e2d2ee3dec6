"""Models of the recipes at full size, without their memory."""

import contextlib
import sys
from unittest import mock

import mmpretrain.models  # noqa: F401
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import lift_mm.models  # noqa: F401
from lift_mm.tuners import FrozenBase, learned_parts


def build(cfg: Config) -> torch.nn.Module:
    """Build the model of a config with no values, on torch's meta device.

    MaskedTuning and TextHead compute with values and are built for real.
    """
    model, tuners = cfg.model, cfg.model.backbone.tuners
    inner = model.backbone.backbone
    for key in ('pretrained', 'init_cfg'):
        if key in inner:
            inner[key] = False if inner.type == 'TIMMBackbone' else None
    if model.head.get('init'):
        model.head.init = None
    real = any(tuner.type == 'MaskedTuning' for tuner in tuners)
    real |= model.head.type == 'lift_mm.TextHead'
    # What reads values: hashes, random starts, copies of the originals.
    modules = [f'lift_mm.models.{n}' for n in ('clip_vit', 'tuned_backbone')]
    patches = [
        mock.patch.object(sys.modules[name], 'initialize', lambda net: None)
        for name in modules
    ]
    freeze = sys.modules['lift_mm.tuners.freeze']
    patches += [
        mock.patch.object(freeze, 'fingerprint', lambda net: ''),
        mock.patch.object(FrozenBase, '_keep', lambda *args: None),
        contextlib.nullcontext() if real else torch.device('meta'),
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        return MODELS.build(model)


def count(cfg: Config) -> dict:
    """Count what learns in the head and elsewhere, and all parameters."""
    model = build(cfg)
    parts = learned_parts(model)
    head = parts.pop('head', 0)
    total = sum(parameter.numel() for parameter in model.parameters())
    return dict(learned=sum(parts.values()), head=head, total=total)


def multiply_adds(cfg: Config, side: int) -> int:
    """Count the multiply-adds of an image of ``side`` pixels.

    They are what mmpretrain calls FLOPs.
    """
    model = build(cfg)
    model.eval()
    device = next(model.parameters()).device
    images = torch.zeros(1, 3, side, side, device=device)
    counter = FlopCounterMode(display=False)
    # The counter does not know all of the fused kernels.
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        feature = model.extract_feat(images)
        if model.head.fc is not None:
            model.head(feature)
    found = counter.get_total_flops() // 2
    if model.head.fc is None:  # of TextHead, whose rows do not change
        found += feature[-1].shape[-1] * model.head.num_classes
    return found
