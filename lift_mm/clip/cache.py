"""Tensors that are costly to compute, kept on disk by what they are."""

import contextlib
import hashlib
import os
import uuid

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def cache_dir() -> str:
    """Give the folder of the cache.

    ``LIFT_MM_CACHE``, else ``XDG_CACHE_HOME/lift_mm``, else
    ``~/.cache/lift_mm``.
    """
    base = os.environ.get('XDG_CACHE_HOME', os.path.expanduser('~/.cache'))
    return os.environ.get('LIFT_MM_CACHE', os.path.join(base, 'lift_mm'))


def read_cache(name: str) -> dict[str, Tensor] | None:
    """Give the entry of that name.

    Returns:
        None where there is none, or where the file is damaged, unreadable
        or another one; the log says so.
    """
    path = _path(name)
    if not os.path.isfile(path):
        return None
    try:
        with safe_open(path, 'pt') as file:
            label = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        reason = str(error)
    else:
        if label == _label(name, tensors):
            return tensors
        reason = 'it is damaged or another file'
    print_log(
        f'{path} is not used, but computed anew: {reason}', logger='current'
    )
    return None


def write_cache(name: str, tensors: dict[str, Tensor]) -> None:
    """Write an entry that other processes see whole or not at all.

    Where that is impossible, the log says so and nothing is kept.
    """
    path = _path(name)
    # Hosts that share the folder have the same process numbers.
    part = f'{path}.{uuid.uuid4().hex}.part'
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        save_file(tensors, part, _label(name, tensors))
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        print_log(f'Not cached: {error}', logger='current')
    finally:
        with contextlib.suppress(OSError):  # mostly it is not there
            os.unlink(part)


def _path(name: str) -> str:
    return os.path.join(cache_dir(), f'{name}.safetensors')


def _label(name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Tell whole entries of this name from all other files."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].cpu().reshape(-1).view(torch.uint8)
        digest.update(f'{key} {tuple(tensors[key].shape)}'.encode())
        digest.update(value.numpy())
    return dict(entry=name, sha256=digest.hexdigest())
