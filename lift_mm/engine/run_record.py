"""What a run is made of: versions, data, code and base weights."""

import hashlib
import importlib.metadata
import os
import os.path as osp
import pickle
import platform
import subprocess
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from torch import nn

import lift_mm
from lift_mm.tuners import FrozenBase

# By the names under which they are installed.
_PACKAGES = (
    'torchvision',
    'numpy',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmpretrain',
    'open_clip_torch',
)


def versions() -> dict[str, str]:
    """Give the versions of what computes, by name; what is absent lacks."""
    found = dict(
        python=platform.python_version(),
        lift_mm=lift_mm.__version__,
        torch=str(torch.__version__),  # a class of its own
    )
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        found['cuda'] = torch.version.cuda
        found['cudnn'] = str(torch.backends.cudnn.version())
    return found


def data_fingerprint(dataset) -> dict[str, int | str]:
    """Name a dataset by its list of images, without reading any of them.

    Args:
        dataset: A dataset of mmengine, or a wrapper of such.

    Returns:
        dict: ``images`` and ``classes`` are their numbers, ``sha256`` is the
        hash of paths (below the root folder) and labels, in their order, and
        of class names. Images that are in memory count by their pixels. Any
        other dataset counts by its length and class names.
    """
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    digest = hashlib.sha256(repr((len(dataset), list(names))).encode())
    for source in _sources(dataset):
        root = str(getattr(source, 'data_root', '') or '')
        lines = []
        for item in _items(source):
            path, pixels = item.get('img_path'), item.get('img')
            if path is not None:
                path = str(path).removeprefix(root).lstrip(os.sep)
            elif isinstance(pixels, np.ndarray):
                digest.update(np.ascontiguousarray(pixels))
            lines.append(f'{path}\t{item.get("gt_label")}')
        digest.update('\n'.join(lines).encode())
    return dict(
        images=len(dataset), classes=len(names), sha256=digest.hexdigest()
    )


def _sources(dataset) -> Iterator[BaseDataset]:
    """Look through datasets that join, repeat or pick."""
    parts = getattr(dataset, 'datasets', None)
    if parts is None and hasattr(dataset, 'dataset'):
        parts = [dataset.dataset]
    if parts is None:
        parts = []
        if isinstance(dataset, BaseDataset):
            yield dataset
    for part in parts:
        yield from _sources(part)


def _items(source: BaseDataset) -> Iterator[dict]:
    if not source.serialize_data:
        yield from source.data_list
        return
    # get_data_info() takes three times as long.
    whole, start = memoryview(source.data_bytes), 0
    for end in source.data_address:
        yield pickle.loads(whole[start:end])
        start = end


def git_state(path: str) -> str:
    """Name the commit of the checkout that a file or folder lies in.

    Returns:
        str: The commit, followed by the number of changed tracked files if
        there are any; empty outside a checkout or without git.
    """
    folder = path if osp.isdir(path) else osp.dirname(osp.abspath(path))
    try:
        commit = _git(folder, 'rev-parse', 'HEAD').strip()
        changed = _git(folder, 'status', '--porcelain', '-uno').splitlines()
    except (OSError, subprocess.SubprocessError):
        return ''
    files = f' + {len(changed)} changed files' if changed else ''
    return commit + files


def _git(folder: str, *args: str) -> str:
    # A checkout may name a program of its own as its monitor.
    command = ['git', '-C', folder, '-c', 'core.fsmonitor=false', *args]
    return subprocess.run(
        command, capture_output=True, check=True, text=True, timeout=20
    ).stdout


def code_state(cfg: Config) -> dict[str, str]:
    """Give :func:`git_state` of the config and of lift_mm, where known."""
    paths = dict(config=cfg.filename or '', lift_mm=lift_mm.__file__)
    states = {name: git_state(p) for name, p in paths.items() if p}
    return {name: state for name, state in states.items() if state}


def bases(model: nn.Module) -> list[list[str]]:
    """Give name and SHA-256 of each frozen net in a model."""
    guards = [m for m in model.modules() if isinstance(m, FrozenBase)]
    return [[guard.name, guard.fingerprint] for guard in guards]
