"""What a run is made of is written down, kept, and compared on resuming."""

import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset
from test_tuners import tiny_models as tiny

import lift_mm
from lift_mm.datasets import LongTailFolder
from lift_mm.engine import RecordHook, record_hook
from lift_mm.engine.run_record import data_fingerprint, git_state, versions
from lift_mm.safe_load import load_file


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('record')
    tiny.image_folder(folder / 'photos')
    return folder


def settings(place, name, **kwargs):
    config = tiny.run_config(
        place / name,
        tiny.model_config(tiny.clip_file(place)),
        place / 'photos',
        train_cfg=dict(type='lift_mm.ResumableEpochLoop', max_epochs=1),
        **kwargs,
    )
    config['custom_hooks'].append(dict(type='lift_mm.RecordHook'))
    config['default_hooks']['checkpoint'] = dict(type='CheckpointHook')
    return config


@pytest.fixture(scope='module')
def finished(place):
    runner = tiny.runner(settings(place, 'first'))
    runner.train()
    return runner


@pytest.fixture
def said(monkeypatch):
    found = []
    monkeypatch.setattr(
        record_hook,
        'print_log',
        lambda text, logger, level=20: found.append((level, text)),
    )
    return found


def test_the_record_is_a_file_and_in_every_checkpoint(place, finished):
    record = json.loads(Path(finished.log_dir, 'record.json').read_text())
    path = place / 'first' / 'epoch_1.pth'
    assert load_file(path)['meta']['record'] == record
    assert record['versions']['lift_mm'] == lift_mm.__version__
    assert record['versions'].keys() >= {'python', 'torch', 'mmengine'}
    assert record['data']['train']['images'] == 10
    assert record['data']['train']['classes'] == 3
    assert (
        record['base'][0][1] == finished.model.backbone.frozen_base.fingerprint
    )
    assert (record['seed'], record['deterministic']) == (3, 0)
    assert record['processes'] == 1


def test_the_record_is_read_without_any_foreign_type(finished, tmp_path):
    hook = next(h for h in finished.hooks if isinstance(h, RecordHook))
    torch.save(dict(meta=dict(record=hook.record)), tmp_path / 'file.pth')
    torch.load(tmp_path / 'file.pth', weights_only=True)


def resume(place, finished, name, **kwargs):
    path = str(place / 'first' / 'epoch_1.pth')
    config = settings(place, name, load_from=path, resume=True)
    config['train_dataloader']['dataset'].update(kwargs)
    tiny.runner(config).train()


def test_resumed_on_other_data(place, finished, said):
    resume(place, finished, 'other', indices=[*range(9), 8])
    warnings = [text for level, text in said if level == 30]
    assert len(warnings) == 1
    assert 'was 10 images of 3 classes [' in warnings[0]
    assert 'and is 10 images of 3 classes [' in warnings[0]
    assert '`train_dataloader.dataset`' in warnings[0]


def test_resumed_on_the_same(place, finished, said):
    resume(place, finished, 'same')
    assert [level for level, _ in said] == [20]  # the record alone


def test_resumed_with_other_versions(place, finished, said, monkeypatch):
    monkeypatch.setattr(
        record_hook, 'versions', lambda: dict(versions(), numpy='0.9')
    )
    resume(place, finished, 'versions')
    level, text = said[-1]
    assert level == 20
    assert (
        text == f'Resumed with other versions: numpy {np.__version__} -> 0.9.'
    )


def test_a_checkpoint_may_be_loaded_before_the_run_begins(finished, said):
    """As mmengine's FlexibleRunner does."""
    record = json.loads(Path(finished.log_dir, 'record.json').read_text())
    record['versions']['numpy'] = '0.9'
    hook = RecordHook()
    hook.after_load_checkpoint(
        SimpleNamespace(_resume=True), dict(meta=dict(record=record))
    )
    assert not said
    hook.before_run(finished)
    _, text = said[-1]
    assert (
        text == f'Resumed with other versions: numpy 0.9 -> {np.__version__}.'
    )


def test_weights_without_a_record_are_resumed_in_silence(said):
    hook = RecordHook()
    hook.record = dict(data={}, versions={})
    hook.after_load_checkpoint(SimpleNamespace(_resume=True), {})
    assert not said


def folder(place, **kwargs):
    config = tiny.dataset(place / 'photos', train=False, **kwargs)
    del config['type']
    return LongTailFolder(**config)


def test_a_fingerprint_names_list_order_and_classes(place, tmp_path):
    plain = data_fingerprint(folder(place))
    assert plain == data_fingerprint(folder(place))
    # Copied elsewhere it is the same data.
    tiny.image_folder(tmp_path / 'a_longer_name')
    config = tiny.dataset(tmp_path / 'a_longer_name', train=False)
    del config['type']
    assert data_fingerprint(LongTailFolder(**config)) == plain
    assert data_fingerprint(folder(place, serialize_data=False)) == plain
    others = [
        folder(place, indices=[*range(9)]),
        folder(place, indices=[1, 0, *range(2, 10)]),
        folder(place, classes=['fox', 'owl', 'ox']),
        ConcatDataset([folder(place), folder(place)]),
        ClassBalancedDataset(folder(place), 0.5),
    ]
    found = {data_fingerprint(data)['sha256'] for data in others}
    assert len(found | {plain['sha256']}) == len(others) + 1


class Pixels(BaseDataset):
    """Images in memory."""

    METAINFO = dict(classes=('a', 'b'))
    shade = 0

    def load_data_list(self):
        image = np.full((2, 2, 3), self.shade, np.uint8)
        return [dict(img=image, gt_label=0)]


class Brighter(Pixels):
    shade = 1


def test_images_in_memory_count_by_their_pixels():
    dark, bright = (data_fingerprint(kind()) for kind in (Pixels, Brighter))
    assert dark['images'] == bright['images'] == 1
    assert dark['sha256'] != bright['sha256']


def test_a_foreign_dataset_counts_by_its_length():
    short, long = (data_fingerprint([0] * n) for n in (3, 4))
    assert short['images'] == 3 and short['sha256'] != long['sha256']


class ManyImages(BaseDataset):
    """As many as iNaturalist 2018 has."""

    def load_data_list(self):
        return [
            dict(img_path=f'/data/train/{i % 8142}/{i}.jpg', gt_label=i % 8142)
            for i in range(437_513)
        ]


def test_a_large_list_takes_no_time():
    dataset = ManyImages(data_root='/data')
    started = time.process_time()
    data_fingerprint(dataset)
    assert time.process_time() - started < 2  # 0.4 on a quiet machine


def git(folder, *args):
    env = dict(
        os.environ,
        GIT_CONFIG_GLOBAL=os.devnull,
        **{
            f'GIT_{who}_{what}': 'x@y.z'
            for who in ('AUTHOR', 'COMMITTER')
            for what in ('NAME', 'EMAIL')
        },
    )
    command = ['git', '-C', folder, *args]
    return subprocess.run(
        command, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_a_checkout(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('a = 1\n')
    assert git_state(str(config)) == ''
    git(tmp_path, 'init', '-q')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'One')
    commit = git(tmp_path, 'rev-parse', 'HEAD')
    assert git_state(str(config)) == commit
    config.write_text('a = 2\n')
    assert git_state(str(config)) == f'{commit} + 1 changed files'


def test_a_checkout_runs_no_program_of_its_own(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('a = 1\n')
    git(tmp_path, 'init', '-q')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'One')
    program, trace = tmp_path / 'monitor', tmp_path / 'trace'
    program.write_text(f'#!/bin/sh\ntouch {trace}\n')
    program.chmod(0o755)
    git(tmp_path, 'config', 'core.fsmonitor', str(program))
    git_state(str(config))
    assert not trace.exists()
    git(tmp_path, 'status')
    assert trace.exists()  # without our care it does


def test_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert git_state(lift_mm.__file__) == ''


def test_it_is_the_first_hook_and_in_the_recipes():
    path = Path(__file__).parents[2] / 'configs/_base_/default_runtime.py'
    first = Config.fromfile(path).custom_hooks[0]
    assert first.type == 'lift_mm.RecordHook'
    assert RecordHook.priority == 'HIGHEST'
