"""Reference numbers of the published programs, for the tests.

``tests/data/parity`` holds tensors that the LIFT and LIFT+ programs gave on
tiny random models; ``index.json`` there says what each of them means.
"""

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parent / 'data' / 'parity'


def load(name: str) -> dict[str, torch.Tensor]:
    """Give the tensors of one file, in the types in which they are stored.

    Args:
        name: File name without ``.safetensors``, e.g. ``'evaluator'``.
    """
    return load_file(ROOT / f'{name}.safetensors')


def meta(name: str) -> dict:
    """Give the settings and plain numbers that belong to one file.

    Args:
        name: File name without ``.safetensors``, e.g. ``'evaluator'``.
    """
    return _index()['files'][f'{name}.safetensors']['meta']


@lru_cache(maxsize=1)
def _index() -> dict:
    return json.loads((ROOT / 'index.json').read_text())
