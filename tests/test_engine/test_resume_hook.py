"""A run goes on from the newest checkpoint that is whole."""

import os
import re

import pytest
import reliable_runs
import torch
from mmengine.logging import MMLogger
from reliable_runs import At, config, resume, train
from test_tuners.tiny_models import runner

from lift_mm import whole_files
from lift_mm.engine.resume_hook import newest_whole


def write(folder, name, age, torn=False):
    path = folder / name
    whole_files.save(dict(x=torch.arange(100)), path)
    if torn:
        path.write_bytes(path.read_bytes()[:-300])
    os.utime(path, (1e9 - age, 1e9 - age))


@pytest.mark.parametrize(
    'files, last, chosen, sentence',
    [
        # name: (age, torn)
        ({}, None, None, 'No checkpoint in .*starts anew'),
        ({'epoch_1.pth': (1, 0)}, 'epoch_1.pth', 'epoch_1.pth', '^$'),
        (
            {'epoch_2.pth': (2, 0), 'epoch_3.pth': (1, 1)},
            'epoch_3.pth',
            'epoch_2.pth',
            'epoch_3.pth": it ends too early; .*epoch_2.pth" instead',
        ),
        (
            {'epoch_2.pth': (2, 0), 'epoch_3.pth': (1, 0)},
            'epoch_2.pth',
            'epoch_2.pth',
            '^$',
        ),
        (
            {'epoch_2.pth': (2, 0), 'epoch_3.pth': (1, 0)},
            '',
            'epoch_3.pth',
            'last_checkpoint" names no checkpoint; .*epoch_3.pth" instead',
        ),
        ({'epoch_2.pth': (2, 0)}, '\0\0\0', 'epoch_2.pth', 'names no'),
        ({'epoch_2.pth': (2, 0)}, None, 'epoch_2.pth', 'names no'),
        (
            {'epoch_2.pth': (2, 0)},
            'epoch_9.pth',
            'epoch_2.pth',
            'epoch_9.pth": it is not there; .*epoch_2.pth" instead',
        ),
        (
            {'epoch_9.pth': (3, 0), 'stopped.pth': (1, 0)},
            None,
            'stopped.pth',
            'stopped.pth" instead',
        ),
        # What is no state of a run is not looked at.
        ({'best_acc_epoch_3.pth': (1, 0), 'x.pth': (1, 0)}, None, None, 'No'),
    ],
)
def test_newest_whole(tmp_path, files, last, chosen, sentence):
    for name, (age, torn) in files.items():
        write(tmp_path, name, age, torn)
    if last is not None:
        name = str(tmp_path / last) if last.endswith('.pth') else last
        (tmp_path / 'last_checkpoint').write_text(name)
    path, news = newest_whole(str(tmp_path), str(tmp_path), 'epoch_{}.pth')
    assert path == (chosen and str(tmp_path / chosen))
    assert re.search(sentence, news) and '\n' not in news


@pytest.mark.parametrize(
    'files, last',
    [
        ({'epoch_1.pth': (2, 1), 'epoch_2.pth': (1, 1)}, 'epoch_2.pth'),
        ({'epoch_1.pth': (2, 1)}, ''),
        ({}, 'epoch_2.pth'),
        ({}, ''),
    ],
)
def test_nothing_whole(tmp_path, files, last):
    for name, (age, torn) in files.items():
        write(tmp_path, name, age, torn)
    name = str(tmp_path / last) if last else last
    (tmp_path / 'last_checkpoint').write_text(name)
    with pytest.raises(ValueError, match='is whole .*start anew') as caught:
        newest_whole(str(tmp_path), str(tmp_path), 'epoch_{}.pth')
    assert all(name in str(caught.value) for name in files)
    assert '\n' not in str(caught.value)


def test_a_remote_checkpoint_is_left_to_its_backend(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('s3://runs/epoch_2.pth')
    found = newest_whole(str(tmp_path), 's3://runs', 'epoch_{}.pth')
    assert found == ('s3://runs/epoch_2.pth', '')


# Whole runs


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return reliable_runs.data(tmp_path_factory.mktemp('data'))


@pytest.fixture
def warnings(monkeypatch):
    """What the run warns of."""
    said = []

    def handle(self, record):
        if self.filter(record) and record.levelname == 'WARNING':
            said.append(record.getMessage())

    monkeypatch.setattr(MMLogger, 'handle', handle)
    return said


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:2000])


def empty(path):
    path.write_bytes(b'')


@pytest.mark.parametrize(
    'spoil, out', [(flip, True), (cut_off, False), (empty, False)]
)
def test_torn_checkpoint(data, tmp_path, warnings, spoil, out):
    options = dict(out_dir=str(tmp_path / 'out')) if out else {}
    cfg = config(data, tmp_path / 'run', **options)
    weights = train(cfg)
    folder = tmp_path / ('out/run' if out else 'run')
    spoil(folder / 'epoch_2.pth')
    warnings.clear()
    assert torch.equal(resume(cfg), weights)
    (line,) = [w for w in warnings if 'instead' in w]
    assert 'epoch_2.pth' in line and 'epoch_1.pth" instead' in line
    assert whole_files.damage(folder / 'epoch_2.pth') is None


def test_no_checkpoint_is_whole(data, tmp_path):
    cfg = config(data, tmp_path)
    train(cfg)
    before = sorted(tmp_path.glob('*.pth'))
    for path in before:
        cut_off(path)
    run = runner({**cfg, 'resume': True})
    with pytest.raises(ValueError, match='epoch_2.*epoch_1.*start anew'):
        run.train()
    assert run.iter == 0
    assert sorted(tmp_path.glob('*.pth')) == before


@pytest.mark.parametrize('resumed', [True, False])
@pytest.mark.parametrize('spoil', [flip, cut_off])
def test_damaged_file_of_the_users_choice(data, tmp_path, spoil, resumed):
    cfg = config(data, tmp_path / 'run')
    train(cfg)
    path = tmp_path / 'run' / 'epoch_1.pth'
    spoil(path)
    cfg = config(data, tmp_path / 'other')
    cfg.update(load_from=str(path), resume=resumed)
    with pytest.raises(ValueError, match='epoch_1.pth" is damaged .*load_fr'):
        train(cfg)
    assert not list((tmp_path / 'other').glob('*.pth'))


def test_nothing_to_resume(data, tmp_path):
    weights = train(config(data, tmp_path / 'one'))
    assert torch.equal(resume(config(data, tmp_path / 'two')), weights)


@pytest.mark.parametrize(
    'by_epoch, batch, lost',
    [(True, 5, False), (False, 5, False), (False, 6, True)],
)
def test_warning_of_a_lost_gradient(
    data, tmp_path, warnings, by_epoch, batch, lost
):
    """Five iterations are no multiple of two, but the end of a group."""

    def cut(runner):
        raise KeyboardInterrupt

    cfg = config(data, tmp_path, 2, by_epoch=by_epoch)
    hook = cfg['default_hooks']['checkpoint']
    hook['type'] = 'CheckpointHook'  # mmengine's saves within a group
    with pytest.raises(KeyboardInterrupt):
        train(cfg, At(batch + 1, cut))
    warnings.clear()
    resume(cfg)
    said = any('gradient of some iterations is lost' in w for w in warnings)
    assert said is lost
