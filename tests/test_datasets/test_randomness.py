"""Random choices depend on seed, epoch and index, on nothing else."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, RandomApply, RandomChoice
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmpretrain.datasets import BaseDataset, MultiView
from torch.utils.data import DataLoader, Subset

from lift_mm.datasets import LongTailMixin, begin_epoch
from lift_mm.datasets.randomness import SharedClock, seeded


class Dice:
    """A transform that draws from all three generators."""

    def __init__(self, refuse=0.0):
        self.refuse = refuse

    def __call__(self, results):
        if np.random.rand() < self.refuse:
            return None  # the dataset then takes another image
        draws = random.random(), np.random.rand(), float(torch.rand(()))
        return [results['sample_idx'], *draws]


class Toy(LongTailMixin, BaseDataset):
    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [dict(gt_label=i % 2) for i in range(12)]


def toy(refuse=0.0, **kwargs):
    return Toy(ann_file='', pipeline=[Dice(refuse)], **kwargs)


def rows(loader):
    return torch.cat([torch.stack(batch, 1) for batch in loader]).tolist()


def epochs(num_workers, persistent=False, refuse=0.0, context=None):
    dataset = toy(refuse)
    dataset.set_seed(5)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context=context,
    )
    result = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        result.append(rows(loader))
    return result


@pytest.mark.parametrize('refuse', [0.0, 0.5])
@pytest.mark.parametrize(
    'workers, persistent, context',
    [
        (1, False, 'fork'),
        (2, False, 'fork'),
        (2, True, 'fork'),
        (4, True, 'fork'),
    ],
)
def test_workers_do_not_matter(workers, persistent, context, refuse):
    alone = epochs(0, refuse=refuse)
    assert epochs(workers, persistent, refuse, context) == alone
    assert alone[0] != alone[1]


def test_a_spawned_worker_does_not_matter():
    assert epochs(1, True, context='spawn') == epochs(0)


def test_order_does_not_matter():
    dataset = toy()
    dataset.set_epoch(0)
    forward = [dataset[i] for i in range(12)]
    backward = [dataset[i] for i in reversed(range(12))][::-1]
    assert forward == backward
    assert dataset[-1] == forward[11]
    assert dataset[np.int64(3)] == forward[3]


def test_draws_are_spread():
    dataset = toy()
    draws = []
    for seed in range(5):
        dataset.set_seed(seed)
        for epoch in range(5):
            dataset.set_epoch(epoch)
            draws += [dataset[i][1:] for i in range(12)]
    draws = np.array(draws)
    assert len(np.unique(draws)) == draws.size
    # Mean of 300 uniform numbers: a standard error of 0.017.
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.07
    assert np.abs(np.corrcoef(draws.T)[np.triu_indices(3, 1)]).max() < 0.2


def states():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2],
        torch.get_rng_state().tolist(),
    )


def test_global_generators_are_left_alone():
    dataset = toy()
    dataset.set_epoch(0)
    before = states()
    dataset[4]
    assert states() == before
    with pytest.raises(KeyError), seeded(1, 2, 3):
        raise KeyError
    assert states() == before


def test_without_an_epoch_the_global_generators_serve():
    dataset = toy()
    first, second = dataset[0], dataset[0]
    assert first[1:] != second[1:]
    before = states()
    test = toy(test_mode=True)
    test.set_epoch(0)
    test[0]
    assert states() != before


def test_clock_is_copied_and_shared():
    clock = SharedClock()
    clock.seed, clock.epoch = 3, 4
    other = copy.deepcopy(clock)
    clock.epoch = 5
    assert (other.seed, other.epoch) == (3, 4)
    assert other._time.is_shared()
    assert pickle.loads(pickle.dumps(clock)).epoch == 5


def test_clock_refuses():
    dataset = toy()
    with pytest.raises(ValueError, match='epoch is -1'):
        dataset.set_epoch(-1)
    with pytest.raises(TypeError, match="seed must be an int, not '1'"):
        dataset.set_seed('1')


def test_subset_has_clock_and_counts_of_its_own():
    dataset = toy()
    dataset.set_epoch(1)
    first = dataset.get_subset([0, 2, 4])
    second = dataset.get_subset([1])
    dataset.set_epoch(2)
    assert first.metainfo['class_counts'] == [3, 0]
    assert second.metainfo['class_counts'] == [0, 1]
    assert dataset.metainfo['class_counts'] == [6, 6]
    assert first.clock.epoch == second.clock.epoch == 1
    first.set_epoch(7)
    assert second.clock.epoch == 1


# Telling the epoch


class Listener(BaseTransform):
    """Notes all that it is told."""

    def __init__(self):
        self.told = []

    def set_epoch(self, epoch):
        self.told.append(epoch)

    def set_max_epochs(self, max_epochs):
        self.told.append(max_epochs)

    def transform(self, results):
        return results


class Foreign(BaseDataset):
    """A dataset that knows nothing of epochs."""

    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [dict(gt_label=i % 2) for i in range(6)]


class Holder:
    """A transform of no family, with names of its own."""

    def __init__(self, inner):
        self.mine = {'inner': [inner]}

    def __call__(self, results):
        return self.mine['inner'][0](results)


@pytest.mark.parametrize('kind', [Foreign, Toy])
@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dataset,
        lambda dataset: ConcatDataset([copy.deepcopy(dataset), dataset]),
        lambda dataset: RepeatDataset(dataset, 2),
        lambda dataset: ClassBalancedDataset(dataset, 0.5),
        lambda dataset: Subset(dataset, [1, 2]),
        lambda dataset: Subset(ConcatDataset([dataset]), [1, 2]),
    ],
    ids=['plain', 'concat', 'repeat', 'balanced', 'subset', 'nested'],
)
@pytest.mark.parametrize(
    'nest',
    [
        lambda inner: inner,
        lambda inner: RandomApply([inner]),
        lambda inner: RandomChoice([[Dice()], [Dice(), inner]]),
        lambda inner: MultiView([[inner]], 2),
        lambda inner: RandomApply([RandomChoice([[inner]])]),
        Holder,
    ],
    ids=['plain', 'apply', 'choice', 'views', 'nested', 'holder'],
)
def test_the_epoch_goes_everywhere(nest, wrap, kind):
    listener = Listener()
    dataset = kind(ann_file='', pipeline=[Dice(), nest(listener)])
    begin_epoch(wrap(dataset), 2, 7, seed=3)
    assert listener.told == [2, 7]  # and only once
    if kind is Toy:
        assert (dataset.clock.seed, dataset.clock.epoch) == (3, 2)


def test_the_epoch_in_circles_and_where_nobody_listens():
    listener = Listener()
    dataset = Foreign(ann_file='', pipeline=[listener])
    listener.dataset = dataset  # as transforms that mix images do
    begin_epoch(dataset, 1, 2)
    assert listener.told == [1, 2]
    begin_epoch(range(3), 1, 2)
