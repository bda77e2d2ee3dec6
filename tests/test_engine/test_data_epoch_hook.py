"""The epoch under mmengine's own loops."""

import pytest
from mmengine.hooks import Hook
from test_tuners.tiny_models import (
    clip_file,
    dataset,
    image_folder,
    loader,
    model_config,
    run_config,
    runner,
)

from lift_mm.datasets.transforms import minimalist_min_area


class Areas(Hook):
    """Notes the smallest area that a crop may have, at each step."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, *args, **kwargs):
        crop = runner.train_dataloader.dataset.dataset.pipeline.transforms[1]
        self.seen.append(crop.min_area())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    image_folder(root / 'images')
    clip_file(root)
    return root


def config(folder, work_dir, *hooks, **train_cfg):
    """Train mmpretrain's own dataset, in a wrapper, by mmengine's loop."""
    data = dataset(folder / 'images')
    data.update(
        type='CustomDataset',
        data_root='',
        data_prefix=data['data_root'],
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='lift_mm.MinimalistRandomResizedCrop', scale=16),
            dict(type='PackInputs'),
        ],
    )
    data.pop('split')
    data = dict(type='RepeatDataset', times=1, dataset=data)
    cfg = run_config(
        work_dir, model_config(str(folder / 'clip0.pt')), folder / 'images'
    )
    cfg['train_dataloader'] = loader(data)
    cfg['train_cfg'] = dict(by_epoch=True, max_epochs=3, **train_cfg)
    cfg['custom_hooks'] += [dict(type=f'lift_mm.{name}') for name in hooks]
    return cfg


def test_growing_crops(folder, tmp_path):
    cfg = config(folder, tmp_path, 'DataEpochHook')
    areas = Areas()
    runner(cfg, areas).train()
    expected = [minimalist_min_area(epoch, 3) for epoch in range(3)]
    assert areas.seen == [area for area in expected for _ in range(5)]
    cfg['train_cfg']['max_epochs'] = 4
    resumed = Areas()
    runner({**cfg, 'resume': True}, resumed).train()
    assert resumed.seen == [minimalist_min_area(3, 4)] * 5


def test_without_the_hook(folder, tmp_path):
    with pytest.raises(ValueError, match='lift_mm.DataEpochHook'):
        runner(config(folder, tmp_path)).train()


def test_a_loop_without_epochs(folder, tmp_path):
    cfg = config(folder, tmp_path, 'DataEpochHook')
    cfg['train_cfg'] = dict(by_epoch=False, max_iters=3)
    with pytest.raises(ValueError, match='no epochs in a IterBasedTrainLoop'):
        runner(cfg).train()
