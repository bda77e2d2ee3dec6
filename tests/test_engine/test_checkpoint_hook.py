"""Checkpoints come whole, and the old ones go afterwards."""

import errno
import os

import pytest
import reliable_runs
import torch
from reliable_runs import At, config, resume, train
from test_tuners.tiny_models import dataset, loader

from lift_mm import whole_files
from lift_mm.safe_load import load_file


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return reliable_runs.data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    return train(config(data, tmp_path_factory.mktemp('run')))


def checkpoints(work_dir) -> list:
    return sorted(path.name for path in work_dir.glob('*.pth'))


def full_disk(monkeypatch, writes: int):
    """Refuse to finish a checkpoint after so many."""
    replace, seen = os.replace, []

    def limited(part, path):
        if path.endswith('.pth'):
            seen.append(path)
            if len(seen) > writes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(part, path)

    monkeypatch.setattr(os, 'replace', limited)


VALIDATED = dict(save_best='accuracy/top1', rule='greater')


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(max_keep_ckpts=-1, by_epoch=False, interval=3),
        dict(by_epoch=False, interval=4, max_keep_ckpts=1),
        dict(VALIDATED, save_best=['accuracy/top1', 'accuracy/top2']),
        dict(published_keys=['meta', 'state_dict'], max_keep_ckpts=1),
        dict(filename_tmpl='step{}.pth', save_last=False, interval=2),
    ],
    ids=lambda options: '-'.join(options) or 'default',
)
def test_same_files_as_mmengines_hook(data, tmp_path, options):
    found = []
    for kind in ('CheckpointHook', 'lift_mm.CheckpointHook'):
        work_dir = tmp_path / kind
        cfg = config(data, work_dir, type=kind, **options)
        val = loader(dataset(data / 'images', train=False))
        metric = dict(type='Accuracy', topk=(1, 2))
        cfg.update(val_dataloader=val, val_cfg={}, val_evaluator=metric)
        train(cfg)
        names = checkpoints(work_dir)
        if 'published_keys' in options:  # the hash has the time in it
            names = [name.split('-')[0] for name in names]
        last = (work_dir / 'last_checkpoint').read_text()
        found.append((names, os.path.basename(last)))
        for path in work_dir.glob('*.pth'):
            assert whole_files.damage(path) is None
            sealed = b'lift_mm sha256' in path.read_bytes()
            assert sealed is kind.startswith('lift_mm')
    assert found[0] == found[1]
    assert found[0][0]


def test_published_keys(data, tmp_path):
    train(config(data, tmp_path, published_keys=['meta', 'state_dict']))
    (path,) = tmp_path.glob('epoch_2-*.pth')
    assert load_file(path).keys() == {'meta', 'state_dict'}


@pytest.mark.parametrize('keep', [1, 2])
def test_full_disk(data, tmp_path, uninterrupted, monkeypatch, keep):
    """The old checkpoint goes when the new one is there."""
    cfg = config(data, tmp_path, max_keep_ckpts=keep)
    with monkeypatch.context() as patch:
        full_disk(patch, writes=1)
        with pytest.raises(OSError, match='epoch_2.pth.*No space left'):
            train(cfg)
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    assert not list(tmp_path.glob('.*.part'))
    assert torch.equal(resume(cfg), uninterrupted)
    assert 'epoch_2.pth' in checkpoints(tmp_path)


def test_full_disk_keeps_the_best(data, tmp_path, monkeypatch):
    cfg = config(data, tmp_path, **VALIDATED, max_keep_ckpts=1)
    val = loader(dataset(data / 'images', train=False))
    cfg.update(val_dataloader=val, val_cfg={}, val_evaluator=None)
    cfg['val_evaluator'] = dict(type='Accuracy')
    scores = iter([1.0, 2.0])
    monkeypatch.setattr(
        'mmengine.evaluator.Evaluator.evaluate',
        lambda *_: {'accuracy/top1': next(scores)},
    )
    full_disk(monkeypatch, writes=4)  # twice the epoch, the best, the epoch
    with pytest.raises(OSError, match='best_accuracy_top1_epoch_2.pth'):
        train(cfg)
    assert 'best_accuracy_top1_epoch_1.pth' in checkpoints(tmp_path)


def test_parts_of_a_killed_run_are_removed(data, tmp_path):
    (tmp_path / '.epoch_1.pth.part').write_bytes(b'PK')
    train(config(data, tmp_path))
    assert not list(tmp_path.glob('.*.part'))


def test_saves_wait_for_the_end_of_a_group(data, tmp_path):
    """Groups of two end after 2, 4, 5 (the epoch), 7, 9, 10 iterations."""

    def cut(runner):
        raise KeyboardInterrupt

    options = dict(by_epoch=False, interval=3, max_keep_ckpts=-1)
    expected = train(config(data, tmp_path / 'whole', 2, **options))
    names = [f'iter_{number}.pth' for number in (4, 7, 9, 10)]
    assert set(checkpoints(tmp_path / 'whole')) == set(names)
    for iteration in (5, 8, 10):
        cfg = config(data, tmp_path / str(iteration), 2, **options)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, At(iteration, cut))
        assert torch.equal(resume(cfg), expected)
