"""Reference numbers of the published programs, for the tests.

``tests/data/parity`` holds tensors that the LIFT and LIFT+ programs gave on
tiny random models; ``index.json`` there says what each of them means.
"""

import json
from functools import lru_cache
from pathlib import Path

import PIL
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


def same_pixels(found: torch.Tensor, published: torch.Tensor) -> bool:
    """Say whether uint8 images equal published ones.

    Pillow 12, the last for Python 3.10, rounds some pixels of a resized
    image differently from the one that they were made with.
    """
    if int(PIL.__version__.split('.')[0]) >= 13:
        return torch.equal(found, published)
    gaps = (found.int() - published.int()).abs()
    return gaps.max() <= 2 and gaps.float().mean() < 0.25


@lru_cache(maxsize=1)
def _index() -> dict:
    return json.loads((ROOT / 'index.json').read_text())
