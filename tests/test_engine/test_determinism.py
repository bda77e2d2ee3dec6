"""A deterministic run gives the same bits however its data are loaded."""

import pytest
import torch
from test_tuners import tiny_models as tiny

from lift_mm.models.tuned_states import tuned_state


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('determinism')
    tiny.image_folder(folder / 'photos')
    return folder


def learn(place, name, workers, seed=0):
    config = tiny.run_config(
        place / name,
        tiny.model_config(tiny.clip_file(place)),
        place / 'photos',
        randomness=dict(seed=seed, deterministic=True),
    )
    config['train_dataloader']['num_workers'] = workers
    before = torch.are_deterministic_algorithms_enabled()
    try:
        runner = tiny.runner(config)
        assert torch.are_deterministic_algorithms_enabled()
        runner.train()
    finally:
        torch.use_deterministic_algorithms(before)
    return tuned_state(runner.model)


@pytest.fixture(scope='module')
def first(place):
    return learn(place, 'first', 0)


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_same_seed_same_bits(place, first, workers):
    again = learn(place, f'workers{workers}', workers)
    assert first.keys() == again.keys()
    for key, value in first.items():
        assert torch.equal(value, again[key]), key


def test_another_seed_learns_something_else(place, first):
    other = learn(place, 'seed', 0, seed=1)
    assert any(not torch.equal(first[key], other[key]) for key in first)
