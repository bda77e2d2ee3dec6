"""What today's torch, numpy and setuptools need of mmengine and mmpretrain.

:func:`install` runs on ``import lift_mm``. Every shim asks first whether its
fault is there, so it vanishes where upstream has repaired it. The functions
below the shims are called by tools, hooks and models.
"""

import importlib.metadata
import importlib.util
import inspect
import logging
import os
import os.path as osp
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import safetensors.torch
import torch
from mmengine import device
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import checkpoint as runner_checkpoint
from mmengine.utils import package_utils
from torch import nn

from .safe_load import load_file, refusal

__all__ = [
    'cpu_distributed',
    'float_drop_path',
    'has_accelerator',
    'import_mmpretrain_models',
    'install',
    'load_file',
    'without_amp',
    'without_fp16',
]


@cache
def install() -> tuple[str, ...]:
    """Put every shim that is needed in place, once.

    Returns:
        tuple[str]: What was repaired, for the log of a run.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'lift_mm needs mmcv or mmcv-lite, and neither is installed: '
            '"pip install mmcv-lite" needs no compiler.'
        )
    # mmcv-lite announces an operator that nothing here uses.
    warnings.filterwarnings(
        'ignore', message='Fail to import ``MultiScaleDeformableAttention``'
    )
    # mmengine finds the configs of known packages only.
    config_utils.MODULE2PACKAGE.setdefault('lift_mm', 'lift_mm')
    Config._get_cfg_path = staticmethod(_config_path)
    shims = {
        'local checkpoints': _local_checkpoints,
        'remote checkpoints': _remote_checkpoints,
        'package look-up': _package_lookup,
    }
    done = tuple(name for name, shim in shims.items() if shim())
    # An import prints nothing; the tools put this line into a run's log.
    logging.getLogger(__name__).debug('shims: %s', ', '.join(done))
    return done


# Checkpoints: torch >= 2.6 refuses what a runner saves, and the repair of
# mmengine (unreleased) is to trust every file.


def load_from_local(filename: str, map_location) -> dict:
    """Load a local file; mmengine's log derives "local" from this name."""
    return load_file(filename, map_location)


def _local_checkpoints() -> bool:
    loader = runner_checkpoint.CheckpointLoader
    if _reads_safely(loader._schemes['']):
        return False
    loader.register_scheme('', load_from_local, force=True)
    return True


def _reads_safely(loader: Callable) -> bool:
    """Whether a loader reads all that :func:`load_file` does, and no code."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            log = osp.join(folder, 'log.pth')
            plain = osp.join(folder, 'plain.safetensors')
            code = osp.join(folder, 'code.pth')
            torch.save(HistoryBuffer([1.0], [1]), log)
            safetensors.torch.save_file({'x': torch.zeros(1)}, plain)
            torch.save(print, code)
            return (
                _succeeds(loader, log)
                and _succeeds(loader, plain)
                and not _succeeds(loader, code)
            )
    except OSError:  # nowhere to write: ours is right at any rate
        return False


def _succeeds(loader: Callable, path: str) -> bool:
    try:
        loader(path, 'cpu')
    except Exception:
        return False
    return True


def _load_url(url: str, *args, **kwargs) -> dict:
    try:
        return torch.hub.load_state_dict_from_url(
            url, *args, **kwargs, weights_only=True
        )
    except pickle.UnpicklingError as error:
        advice = 'if you trust its author, download it and pass its local path'
        raise refusal(url, error, advice) from error


def _remote_checkpoints() -> bool:
    # torch.hub still trusts what it downloads unless told otherwise.
    parameters = inspect.signature(runner_checkpoint.load_url).parameters
    option = parameters.get('weights_only')
    if option is None or option.default is not False:
        return False
    runner_checkpoint.load_url = _load_url
    return True


# Packages: setuptools >= 82 has no pkg_resources any more.


def _is_installed(package: str) -> bool:
    """Whether a distribution or a module of that name is there."""
    try:
        importlib.metadata.distribution(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None


def _get_installed_path(package: str) -> str:
    """The folder of a package, whose module may have another name."""
    module = package
    if importlib.util.find_spec(module) is None:
        top = importlib.metadata.distribution(package).read_text(
            'top_level.txt'
        )
        module = (top or package).split()[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'Package "{package}" has no folder.')
    return osp.dirname(spec.origin)


def _package_lookup() -> bool:
    if importlib.util.find_spec('pkg_resources'):
        return False
    try:
        package_utils.is_installed('mmengine')
        return False
    except ModuleNotFoundError:
        pass
    # Others have imported the two names by value.
    modules = (
        'mmengine.utils.package_utils',
        'mmengine.utils',
        'mmengine.config.config',
        'mmengine.hub.hub',
    )
    for module in filter(None, map(sys.modules.get, modules)):
        for new in (_is_installed, _get_installed_path):
            name = new.__name__.removeprefix('_')
            if hasattr(module, name):
                setattr(module, name, new)
    return True


_find_config_path = Config._get_cfg_path


def _config_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Find a base config, and the scope its parts are built in.

    mmengine takes the package's name for the scope. Our configs set their
    own, mmpretrain's, and name our parts ``lift_mm.X``.
    """
    path, scope = _find_config_path(cfg_path, filename)
    return path, None if scope == 'lift_mm' else scope


def import_mmpretrain_models() -> ModuleType:
    """Import ``mmpretrain.models``, or say what stands in its way."""
    try:
        import mmpretrain.models

        return mmpretrain.models
    except TypeError as error:
        if 'NoneType takes no arguments' not in str(error):
            raise
        raise ImportError(
            'mmpretrain cannot be imported beside pycocotools and this '
            'version of transformers: "pip uninstall pycocotools" or '
            '"pip install transformers<4.56".'
        ) from error


# Machines without an accelerator.


def has_accelerator() -> bool:
    """Whether mmengine can train in mixed precision on this machine."""
    return (
        device.is_cuda_available()
        or device.is_npu_available()
        or device.is_mlu_available()
        or device.is_musa_available()
    )


def cpu_distributed(cfg: Config) -> None:
    """Let several processes run a config without an accelerator, by gloo.

    Does nothing for a single process or where there is an accelerator.
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
    kind = optim_wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    if kind.split('.')[-1] != 'AmpOptimWrapper' or has_accelerator():
        return optim_wrapper
    _warn_fp32()
    plain = optim_wrapper.copy()
    plain['type'] = 'OptimWrapper'
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        plain.pop(option, None)
    return plain


def without_fp16(loop_cfg: dict | None) -> dict | None:
    """Switch ``fp16`` of a ``val_cfg`` or ``test_cfg`` off, as above."""
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


def float_drop_path(net: nn.Module) -> None:
    """Make drop-path rates Python floats, for ``torch.compile``.

    mmpretrain takes them from ``np.linspace``, and dynamo traces a numpy
    number as a tensor that a graph would branch on.
    """
    for module in net.modules():
        if isinstance(getattr(module, 'drop_prob', None), np.generic):
            module.drop_prob = float(module.drop_prob)
