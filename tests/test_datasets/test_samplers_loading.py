"""Samplers with real datasets, wrappers, data loaders and trainings."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, RepeatDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from test_tuners.tiny_models import (
    clip_file,
    image_folder,
    model_config,
    run_config,
    runner,
)

from lift_mm.datasets import LongTailMixin
from lift_mm.datasets.samplers import class_labels
from lift_mm.registry import DATASETS
from lift_mm.tuners import learned_parameters

from .test_samplers import EACH, SAMPLERS, Labelled


class Dice:
    """A transform that draws random numbers."""

    def __call__(self, results):
        draws = random.random(), np.random.rand(), float(torch.rand(()))
        return [results['sample_idx'], *draws]


@DATASETS.register_module()
class DiceDataset(LongTailMixin, BaseDataset):
    METAINFO = dict(classes=('a', 'b', 'c'))

    def __init__(self, labels, **kwargs):
        self.labels = labels
        super().__init__(ann_file='', pipeline=[Dice()], **kwargs)

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]


class Unlabelled(BaseDataset):
    def load_data_list(self):
        return [dict(img_path='a.png')] * 3


class Categories:
    def __len__(self):
        return 3

    def get_cat_ids(self, index):
        return [index + 4]


def dice(*labels):
    return dict(type='lift_mm.DiceDataset', labels=labels)


def repeated(dataset, times):
    return dict(type='RepeatDataset', dataset=dataset, times=times)


def joined(*datasets):
    # Each has class counts of its own.
    keys = ['class_counts']
    return dict(type='ConcatDataset', datasets=datasets, ignore_keys=keys)


@pytest.mark.parametrize(
    'dataset, labels',
    [
        (dice(0, 0, 1, 2), [0, 0, 1, 2]),
        (repeated(dice(2, 0, 1), 2), [2, 0, 1, 2, 0, 1]),
        (joined(dice(2, 0, 1), dice(1, 2, 0)), [2, 0, 1, 1, 2, 0]),
        (
            joined(repeated(dice(2, 0, 1), 2), dice(0, 1, 2)),
            [2, 0, 1, 2, 0, 1, 0, 1, 2],
        ),
        (
            dict(
                type='ClassBalancedDataset',
                dataset=dice(0, 0, 0, 1, 2),
                oversample_thr=0.5,
            ),
            [0, 0, 0, 1, 1, 2, 2],
        ),
        (
            dict(
                type='mmpretrain.KFoldDataset',
                dataset=dice(0, 1, 2, 1, 0, 2),
                num_splits=3,
            ),
            [2, 1, 0, 2],
        ),
    ],
)
def test_labels_through_wrappers(dataset, labels):
    found = class_labels(DATASETS.build(dataset))
    assert found.tolist() == labels
    assert found.dtype == np.int64


def test_labels_from_categories():
    assert class_labels(Categories()).tolist() == [4, 5, 6]


class TwoLabels(Categories):
    def get_cat_ids(self, index):
        return [index, index + 1]


@pytest.mark.parametrize(
    'dataset, name',
    [
        (range(5), 'range'),
        (Unlabelled(ann_file=''), 'Unlabelled'),
        (RepeatDataset(Unlabelled(ann_file=''), times=2), 'RepeatDataset'),
        (TwoLabels(), 'TwoLabels'),
        (Labelled([[0], [1]]), 'Labelled'),
        (Labelled([[0], [1, 2]]), 'Labelled'),
        (Labelled([0.5, 1.0]), 'Labelled'),
        (Labelled([]), 'Labelled'),
    ],
)
def test_a_dataset_without_labels(dataset, name):
    with pytest.raises(ValueError, match=f'{name} does not tell one label'):
        class_labels(dataset)


# In a data loader


EIGHT = dice(0, 0, 0, 0, 0, 1, 1, 2)
WRAPPED = {
    'alone': EIGHT,
    'joined': joined(EIGHT, EIGHT),
    'repeated': repeated(EIGHT, 1),
}


def loader(dataset, workers=0, sampler=None, **kwargs):
    return Runner.build_dataloader(
        dict(
            batch_size=3,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=sampler
            or dict(type='lift_mm.ClassAwareSampler', num_samples=24),
            collate_fn=dict(type='default_collate'),
            dataset=dataset,
            **kwargs,
        ),
        seed=5,
    )


def rows(loaded, epoch=0):
    dataset = loaded.dataset
    for leaf in [*getattr(dataset, 'datasets', [dataset])]:
        getattr(leaf, 'dataset', leaf).set_epoch(epoch)
    loaded.sampler.set_epoch(epoch)
    return torch.cat([torch.stack(batch, 1) for batch in loaded]).tolist()


@pytest.mark.parametrize('wrapper', WRAPPED)
@pytest.mark.parametrize('workers', [0, 2])
def test_a_repeated_image_looks_different(wrapper, workers):
    loaded = loader(WRAPPED[wrapper], workers)
    order = list(loaded.sampler)
    found = rows(loaded)
    assert [row[0] for row in found] == [index % 8 for index in order]
    assert len(set(order)) < len(order) == 24
    # Both datasets of a join give their n-th image the same first look.
    for part in (0, 8):
        looks = [
            row[1:]
            for row, index in zip(found, order, strict=True)
            if index // 8 * 8 == part
        ]
        for column in zip(*looks, strict=True):
            assert len(set(column)) == len(column)


def test_first_looks_are_those_of_plain_shuffling():
    plain = loader(EIGHT, sampler=dict(type='DefaultSampler', shuffle=True))
    expected = {row[0]: row for row in rows(plain)}
    loaded = loader(EIGHT)
    first = {}
    for row in rows(loaded):
        first.setdefault(row[0], row)
    assert first == {index: expected[index] for index in first}
    assert len(first) == 8


def test_workers_do_not_matter():
    alone, helped = loader(EIGHT), loader(EIGHT, 2)
    for epoch in range(2):
        assert rows(alone, epoch) == rows(helped, epoch)


@EACH
def test_from_a_config(name):
    settings = SAMPLERS[name][0]
    sampler = settings | dict(type=f'lift_mm.{settings["type"]}')
    loaded = loader(EIGHT, sampler=sampler)
    assert isinstance(loaded.sampler, DefaultSampler)
    assert loaded.sampler.seed == 5
    assert len(rows(loaded)) == len(loaded.sampler)
    assert len(loaded) == -(-len(loaded.sampler) // 3)


def test_only_the_first_batches_of_a_dataset():
    loaded = loader(EIGHT, num_batch_per_epoch=2)
    assert max(loaded.sampler) < 6


# In a training


class Cut(Exception):
    pass


class Watch(Hook):
    """Sums of the images of each batch; a cut after so many of them."""

    def __init__(self, cut=None):
        self.sums = []
        self.cut = cut

    def before_train_iter(self, runner, batch_idx, data_batch):
        if runner.iter == self.cut:
            raise Cut
        self.sums.append(data_batch['inputs'].double().sum().item())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    image_folder(root / 'images')
    clip_file(root)
    return root


@pytest.mark.parametrize(
    'settings, cut, start',
    [
        (dict(type='ClassAwareSampler'), 5, 4),
        (dict(type='SquareRootSampler', num_samples=14), 10, 8),
        (dict(type='ProgressivelyBalancedSampler', max_epochs=2), 9, 8),
        (dict(type='ClassDownSampler', max_per_class=2), 5, 4),
        (dict(type='ClassDownSampler', max_per_class=2, rule='lift'), 5, 4),
    ],
)
def test_cut_and_resumed(folder, tmp_path, settings, cut, start):
    def train(work_dir, hook, **kwargs):
        model = model_config(str(folder / 'clip0.pt'))
        cfg = run_config(work_dir, model, folder / 'images', **kwargs)
        cfg['default_hooks']['checkpoint'] = dict(
            type='CheckpointHook', by_epoch=False, interval=4
        )
        sampler = settings | dict(type=f'lift_mm.{settings["type"]}')
        cfg['train_dataloader']['sampler'] = sampler
        run = runner(cfg, hook)
        run.train()
        learned = learned_parameters(run.model).values()
        return torch.cat([tensor.detach().flatten() for tensor in learned])

    whole, rest = Watch(), Watch()
    weights = train(tmp_path / 'whole', whole)
    assert len(set(whole.sums)) == len(whole.sums)
    with pytest.raises(Cut):
        train(tmp_path / 'cut', Watch(cut))
    resumed = train(tmp_path / 'cut', rest, resume=True)
    assert rest.sums == whole.sums[start:]
    assert torch.equal(resumed, weights)
