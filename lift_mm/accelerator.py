"""Let a config written for GPUs run on the machine that is at hand."""

import logging
import os
from functools import cache

import torch
from mmengine import device
from mmengine.config import Config
from mmengine.logging import print_log

__all__ = [
    'amp_defaults',
    'cpu_distributed',
    'half_dtype',
    'has_accelerator',
    'set_half_dtype',
    'without_amp',
    'without_fp16',
]


def has_accelerator() -> bool:
    """Whether mmengine can train in mixed precision on this machine."""
    return (
        device.is_cuda_available()
        or device.is_npu_available()
        or device.is_mlu_available()
        or device.is_musa_available()
    )


def half_dtype() -> str:
    """Name the half precision of this machine.

    Returns:
        str: ``'bfloat16'`` where a GPU computes in it, else ``'float16'``.
    """
    # GPUs before Ampere only emulate it, at less than the speed of fp32.
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        return 'bfloat16'
    return 'float16'


def set_half_dtype() -> None:
    """Let autocast without a type take the half precision of this machine.

    ``fp16=True`` of mmengine's loops names no type, and torch's own choice
    is float16 on every GPU.
    """
    if torch.cuda.is_available():
        torch.set_autocast_dtype('cuda', getattr(torch, half_dtype()))


def cpu_distributed(cfg: Config) -> None:
    """Let several processes run a config without an accelerator, by gloo.

    Does nothing for a single process or where there is an accelerator.

    Args:
        cfg: Config of a run; changed in place.
    """
    if cfg.get('launcher', 'none') == 'none' or has_accelerator():
        return
    # mmengine selects a GPU in every process and names it to DDP.
    torch.cuda.set_device = lambda *_: None
    new = {}
    backend = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('backend')
    if backend in (None, 'nccl'):
        new['env_cfg.dist_cfg.backend'] = 'gloo'
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if wrapper['type'].endswith('DistributedDataParallel'):
        new['model_wrapper_cfg'] = dict(wrapper, device_ids=None)
    cfg.merge_from_dict(new)


def without_amp(optim_wrapper: dict) -> dict:
    """Turn an AMP optimizer wrapper into a plain one if AMP cannot run.

    Args:
        optim_wrapper: The config of an optimizer wrapper; left as it is.

    Returns:
        dict: The same config, or a copy for fp32 and a warning in the log.
    """
    if not _is_amp(optim_wrapper) or has_accelerator():
        return optim_wrapper
    _warn_fp32()
    plain = optim_wrapper.copy()
    plain['type'] = 'OptimWrapper'
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        plain.pop(option, None)
    return plain


def amp_defaults(optim_wrapper: dict) -> dict:
    """Give an AMP optimizer wrapper the half precision of this machine.

    mmengine's own default is float16 with a loss scale, on every machine.
    bfloat16 has the range of fp32, so that no gradient wants scaling.

    Args:
        optim_wrapper: The config of an optimizer wrapper; left as it is.
            What it says of ``dtype`` and ``loss_scale`` holds.

    Returns:
        dict: The same config, or a copy with ``dtype``, and for bfloat16
        with a ``loss_scale`` that is switched off.
    """
    if not _is_amp(optim_wrapper):
        return optim_wrapper
    amp = optim_wrapper.copy()
    if amp.get('dtype') is None:
        amp['dtype'] = half_dtype()
    if amp['dtype'] in ('bfloat16', torch.bfloat16):
        amp.setdefault('loss_scale', dict(enabled=False))
    return amp


def _is_amp(optim_wrapper: dict) -> bool:
    kind = optim_wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    return kind.split('.')[-1] == 'AmpOptimWrapper'


def without_fp16(loop_cfg: dict | None) -> dict | None:
    """Switch ``fp16`` of a ``val_cfg`` or ``test_cfg`` off, as above.

    Args:
        loop_cfg: The ``val_cfg`` or ``test_cfg``.
    """
    if not loop_cfg or not loop_cfg.get('fp16') or has_accelerator():
        return loop_cfg
    _warn_fp32()
    plain = loop_cfg.copy()
    plain['fp16'] = False
    return plain


@cache
def _warn_fp32() -> None:
    if os.environ.get('RANK', '0') == '0':
        print_log(
            'No accelerator: mixed precision is switched off, everything '
            'runs in fp32.',
            logger='current',
            level=logging.WARNING,
        )
