"""What every test shares: one thread per process, caches in a scratch."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch
from mmengine.registry import DefaultScope

from lift_mm.compat import compiles_blocks

torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def scratch_cache(tmp_path_factory):
    """Keep class embeddings and downloads out of the user's cache."""
    folder = tmp_path_factory.mktemp('cache')
    os.environ['LIFT_MM_CACHE'] = str(folder)
    return folder


@pytest.fixture(scope='module', autouse=True)
def restored_scope():
    """A runner sets the default scope for whatever is built later."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict = before


@pytest.fixture(scope='session')
def compiler():
    """Skip a test where this torch cannot compile what it compiles."""
    if not compiles_blocks():
        pytest.skip(f'torch {torch.__version__} cannot trace a block')
