"""A run that was cut and resumed ends with the weights of one that was not."""

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from PIL import Image
from test_tuners.tiny_models import (
    clip_file,
    image_folder,
    model_config,
    run_config,
    runner,
)
from torch.utils.data import BatchSampler, DataLoader

from lift_mm.engine.resumable_loop import (
    accumulate_by_epoch,
    skip_batches,
)
from lift_mm.tuners import learned_parameters


def numbers(size, batch, drop_last=False, workers=0):
    sampler = DefaultSampler(range(size), shuffle=True, seed=4)
    return DataLoader(
        range(size),
        batch_size=batch,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def drawn(loader):
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize('drop_last', [True, False])
@pytest.mark.parametrize('size, batch', [(10, 2), (11, 4), (3, 5)])
def test_skip_batches(size, batch, drop_last):
    loader = numbers(size, batch, drop_last)
    whole = drawn(loader)
    assert sorted(sum(whole, [])) == list(range(size)) or drop_last
    for number in range(len(whole) + 1):
        with skip_batches(loader, number) as rest:
            assert drawn(rest) == whole[number:]
            assert len(rest) == len(whole) - number
        assert drawn(loader) == whole
        assert len(loader) == len(whole)


def test_skipped_images_are_not_loaded():
    read = []

    class Recorder:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            read.append(index)
            return index

    loader = DataLoader(Recorder(), batch_size=2)
    with skip_batches(loader, 2):
        assert drawn(loader) == [[4, 5]]
    assert read == [4, 5]


def test_skipping_ends_with_an_exception():
    loader = numbers(6, 2)
    whole = drawn(loader)
    with pytest.raises(KeyError), skip_batches(loader, 1):
        raise KeyError
    assert drawn(loader) == whole


def test_skipping_in_a_batch_sampler_of_ones_own():
    batches = BatchSampler(range(7), batch_size=3, drop_last=False)
    loader = DataLoader(range(7), batch_sampler=batches)
    with skip_batches(loader, 1):
        assert drawn(loader) == [[3, 4, 5], [6]]


@pytest.mark.parametrize(
    'counts, done, groups',
    [
        (1, 0, [[0], [1], [2], [3], [4]]),
        (2, 0, [[0, 1], [2, 3], [4]]),
        (3, 0, [[0, 1, 2], [3, 4]]),
        (5, 0, [[0, 1, 2, 3, 4]]),
        (8, 0, [[0, 1, 2, 3, 4]]),
        (2, 2, [[2, 3], [4]]),
        (2, 4, [[4]]),
    ],
)
def test_accumulation_ends_with_the_epoch(counts, done, groups):
    """The divisor stays the same when the last group is short."""
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=counts)
    slopes = [1.0, 10.0, 100.0, 1000.0, 10000.0]
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(weight.item()))
    expected, position = [], 0.0
    for epoch in range(2):
        first = done if epoch == 0 else 0
        accumulate_by_epoch(wrapper, torch.nn.Module(), first, 5)
        for slope in slopes[first:]:
            wrapper.update_params(weight * slope)
        plan = groups if epoch == 0 else whole_plan(counts)
        for group in plan:
            position -= sum(slopes[i] for i in group) / counts
            expected.append(position)
    assert steps == pytest.approx(expected)


def whole_plan(counts):
    return [list(range(5))[i : i + counts] for i in range(0, 5, counts)]


# Whole runs


class Cut(Exception):
    pass


class CutHook(Hook):
    """Ends a run after so many iterations, as a power cut would."""

    priority = 'LOWEST'

    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iterations:
            raise Cut


class Recorder(Hook):
    """Sums of the images of each batch."""

    def __init__(self):
        self.sums = []

    def before_train_iter(self, runner, batch_idx, data_batch):
        self.sums.append(data_batch['inputs'].double().sum().item())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    image_folder(root / 'images')
    clip_file(root)
    return root


def config(folder, work_dir, counts=1, interval=3, workers=0, seed=3):
    config = run_config(
        work_dir,
        model_config(str(folder / 'clip0.pt')),
        folder / 'images',
        randomness=dict(seed=seed),
    )
    config['optim_wrapper']['accumulative_counts'] = counts
    config['default_hooks']['checkpoint'] = dict(
        type='CheckpointHook', by_epoch=False, interval=interval
    )
    loader = config['train_dataloader']
    loader.update(num_workers=workers, persistent_workers=workers > 0)
    return config


def result(run):
    momenta = run.optim_wrapper.optimizer.state.values()
    learned = learned_parameters(run.model).values()
    tensors = [p.detach() for p in learned]
    tensors += [state['momentum_buffer'] for state in momenta]
    return torch.cat([tensor.flatten() for tensor in tensors])


def train(config, *hooks):
    run = runner(config, *hooks)
    run.train()
    return result(run)


@pytest.fixture(scope='module')
def uninterrupted(folder, tmp_path_factory):
    seen = Recorder()
    weights = train(config(folder, tmp_path_factory.mktemp('run')), seen)
    return weights, seen.sums


@pytest.mark.parametrize(
    'interval, cut, start',
    [(3, 4, 3), (4, 9, 8), (5, 6, 5), (1, 1, 1)],
)
def test_cut_and_resumed(
    folder, tmp_path, uninterrupted, interval, cut, start
):
    weights, sums = uninterrupted
    cfg = config(folder, tmp_path, interval=interval)
    with pytest.raises(Cut):
        train(cfg, CutHook(cut))
    seen = Recorder()
    resumed = train({**cfg, 'resume': True}, seen)
    assert seen.sums == sums[start:]
    assert torch.equal(resumed, weights)


def test_cut_with_workers(folder, tmp_path, uninterrupted):
    weights, sums = uninterrupted
    with pytest.raises(Cut):
        train(config(folder, tmp_path, interval=4), CutHook(4))
    # One worker process outlives the epoch in which it started.
    cfg = config(folder, tmp_path, interval=4, workers=1)
    seen = Recorder()
    resumed = train({**cfg, 'resume': True}, seen)
    assert seen.sums == sums[4:]
    assert torch.equal(resumed, weights)


def test_cut_while_accumulating(folder, tmp_path):
    expected = train(config(folder, tmp_path / 'whole', counts=2))
    cfg = config(folder, tmp_path / 'cut', counts=2, interval=2)
    with pytest.raises(Cut):
        train(cfg, CutHook(3))
    assert torch.equal(train({**cfg, 'resume': True}), expected)


@pytest.mark.parametrize('seed', [None, 5])
def test_resumed_run_keeps_its_seed(folder, tmp_path, uninterrupted, seed):
    weights, _ = uninterrupted
    with pytest.raises(Cut):
        train(config(folder, tmp_path, interval=4), CutHook(4))
    cfg = config(folder, tmp_path, interval=4, seed=seed)
    assert torch.equal(train({**cfg, 'resume': True}), weights)


def test_resumed_with_another_batch_size(folder, tmp_path):
    """Nothing is left out of the epochs to come."""
    cfg = config(folder, tmp_path, interval=1)
    cfg['default_hooks']['checkpoint']['by_epoch'] = True
    cfg['train_cfg']['max_epochs'] = 3
    with pytest.raises(Cut):
        train(cfg, CutHook(7))
    loader = cfg['train_dataloader']
    loader['batch_size'] = 2 * loader['batch_size']
    seen = Recorder()
    train({**cfg, 'resume': True}, seen)
    assert len(seen.sums) == 2 * 3  # five batches have become three


def test_images_are_random(folder, tmp_path, uninterrupted):
    """Otherwise the tests above would pass without any care."""
    weights, sums = uninterrupted
    assert len(set(sums)) == 10
    seen = Recorder()
    other = train(config(folder, tmp_path, seed=5), seen)
    assert not set(sums) & set(seen.sums)
    assert not torch.equal(other, weights)


def growing(folder, work_dir, **kwargs):
    """Give the config of a run whose crops grow by the epoch."""
    cfg = config(folder, work_dir, interval=4, **kwargs)
    cfg['train_cfg']['max_epochs'] = 3
    dataset = cfg['train_dataloader']['dataset']
    dataset['pipeline'] = [
        dict(type='LoadImageFromFile'),
        dict(type='lift_mm.MinimalistRandomResizedCrop', scale=16),
        dict(type='PackInputs'),
    ]
    return cfg


def test_growing_crops_of_a_resumed_run(folder, tmp_path):
    seen = Recorder()
    weights = train(growing(folder, tmp_path / 'whole'), seen)
    # The images are squares of 16: the last epoch shows them whole.
    files = (folder / 'images').rglob('*.png')
    whole = sum(np.asarray(Image.open(file)).sum() for file in files)
    shown = [sum(seen.sums[i : i + 5]) for i in (0, 5, 10)]
    assert shown[2] == whole and whole not in shown[:2]
    for workers, cut in ((0, 5), (1, 9)):
        work_dir = tmp_path / f'cut{cut}'
        with pytest.raises(Cut):
            train(growing(folder, work_dir), CutHook(cut))
        rest = Recorder()
        cfg = growing(folder, work_dir, workers=workers)
        resumed = train({**cfg, 'resume': True}, rest)
        assert rest.sums == seen.sums[cut - 1 :]
        assert torch.equal(resumed, weights)
