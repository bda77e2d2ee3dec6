"""Tensors that are costly to compute, kept on disk by what they are."""

import contextlib
import os

from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def cache_dir() -> str:
    """Give the folder of the cache.

    ``LIFT_MM_CACHE``, else ``XDG_CACHE_HOME/lift_mm``, else
    ``~/.cache/lift_mm``.
    """
    base = os.environ.get('XDG_CACHE_HOME', os.path.expanduser('~/.cache'))
    return os.environ.get('LIFT_MM_CACHE', os.path.join(base, 'lift_mm'))


def read_cache(name: str) -> dict[str, Tensor] | None:
    """Give the entry of that name, None where there is none or a torn one."""
    path = os.path.join(cache_dir(), f'{name}.safetensors')
    if os.path.isfile(path):
        with contextlib.suppress(SafetensorError):
            return load_file(path)
    return None


def write_cache(name: str, tensors: dict[str, Tensor]) -> None:
    """Write an entry that other processes see whole or not at all."""
    path = os.path.join(cache_dir(), f'{name}.safetensors')
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        part = f'{path}.{os.getpid()}.part'
        save_file({k: v.contiguous() for k, v in tensors.items()}, part)
        os.replace(part, path)
    except OSError as error:
        print_log(f'Not cached: {error}', logger='current')
