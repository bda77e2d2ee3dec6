"""What is kept of a run: sizes, versions, whole files."""

import contextlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import lift_mm
from lift_mm.safe_load import load_file

_PACKAGES = ('torch', 'mmengine', 'mmpretrain', 'open_clip_torch', 'numpy')


def write_whole(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    # A folder's name may be no valid text: it is written with escapes.
    part.write_text(text, encoding='utf-8', errors='backslashreplace')
    os.replace(part, path)


def learned_sizes(checkpoint: Path) -> dict:
    """Count what a tuned checkpoint learned: in the backbone, in the head."""
    sizes = {'backbone': 0, 'head': 0}
    for key, value in load_file(checkpoint)['state_dict'].items():
        part = key.removeprefix('module.').split('.')[0]
        if part in sizes:
            sizes[part] += value.numel()
    return dict(learned_params=sizes['backbone'], head_params=sizes['head'])


def environment() -> dict:
    """Say what a result was measured with."""
    versions = dict(lift_mm=lift_mm.__version__, python=sys.version.split()[0])
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = f'{os.cpu_count()} CPU cores, {platform.machine()}'
    if torch.cuda.is_available():
        machine = f'{torch.cuda.get_device_name()}, {machine}'
    return dict(versions=versions, machine=machine)
