"""What every test shares: one thread per process, caches in a scratch."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def scratch_cache(tmp_path_factory):
    """Keep class embeddings and downloads out of the user's cache."""
    folder = tmp_path_factory.mktemp('cache')
    os.environ['LIFT_MM_CACHE'] = str(folder)
    return folder
