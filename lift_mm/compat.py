"""What today's torch, numpy and setuptools need of mmengine and mmpretrain.

:func:`install` runs on ``import lift_mm``. Every shim asks first whether its
fault is there, so it vanishes where upstream has repaired it. The functions
below the shims are called by tools, hooks and models.
"""

import importlib.metadata
import importlib.util
import inspect
import logging
import os.path as osp
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from types import ModuleType

import numpy as np
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as runner_checkpoint
from mmengine.utils import package_utils
from torch import nn

from .accelerator import (
    amp_defaults,
    cpu_distributed,
    half_dtype,
    has_accelerator,
    set_half_dtype,
    without_amp,
    without_fp16,
)
from .safe_load import load_file, refusal

__all__ = [
    'amp_defaults',
    'compiles_blocks',
    'cpu_distributed',
    'float_drop_path',
    'half_dtype',
    'has_accelerator',
    'import_mmpretrain_models',
    'install',
    'load_file',
    'set_half_dtype',
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
        'unsafe loading': _unsafe_loading,
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


def _load_safely(file, map_location=None, weights_only=None) -> dict:
    return torch.load(file, map_location=map_location, weights_only=True)


def _unsafe_loading() -> bool:
    # onedl-mmengine reads unsafely, and says so, what it cannot read safely.
    loader = getattr(runner_checkpoint, '_safe_torch_load', _load_safely)
    if loader is _load_safely:
        return False
    runner_checkpoint._safe_torch_load = _load_safely
    return True


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
    # A foreign loader may print, and an import prints nothing.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
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


@cache
def compiles_blocks() -> bool:
    """Whether this torch compiles a block of mmpretrain as one graph.

    Their MLPs ask for the names of their own arguments, which torch 2.6
    cannot trace.
    """
    from mmcv.cnn.bricks.transformer import FFN

    ffn = torch.compile(FFN(1, 1).eval(), fullgraph=True, backend='eager')
    try:
        ffn(torch.zeros(1, 1, 1))
    except torch._dynamo.exc.Unsupported:
        return False
    return True


def float_drop_path(net: nn.Module) -> None:
    """Make drop-path rates Python floats, for ``torch.compile``.

    mmpretrain takes them from ``np.linspace``, and dynamo traces a numpy
    number as a tensor that a graph would branch on.

    Args:
        net: Any net; changed in place.
    """
    for module in net.modules():
        if isinstance(getattr(module, 'drop_prob', None), np.generic):
            module.drop_prob = float(module.drop_prob)
