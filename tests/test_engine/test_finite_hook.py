"""A loss that is no number ends a run, and nothing of it is saved."""

import pytest
import reliable_runs
import torch
from reliable_runs import At, config, resume, train
from test_tuners.tiny_models import NAMES

from lift_mm.engine.finite_hook import _files
from lift_mm.safe_load import load_file


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return reliable_runs.data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    return train(config(data, tmp_path_factory.mktemp('run')))


def spoil(value):
    def action(runner):
        with torch.no_grad():
            runner.model.head.fc.weight.fill_(value)

    return action


@pytest.mark.parametrize(
    'value, interval', [(float('nan'), 1), (float('inf'), 2)]
)
def test_loss(data, tmp_path, uninterrupted, value, interval):
    """Also where the seventh iteration itself is one that saves."""
    options = dict(by_epoch=False, interval=interval, max_keep_ckpts=1)
    cfg = config(data, tmp_path, **options)
    with pytest.raises(FloatingPointError) as caught:
        train(cfg, At(7, spoil(value)))
    text = str(caught.value)
    assert 'iteration 7, epoch 2, rank 0 (loss=nan)' in text
    assert 'learning rate 0.025' in text
    assert text.count('.png') == 2 and str(data / 'images') in text
    assert any(name in text for name in NAMES)
    assert '\n' not in text
    (path,) = tmp_path.glob('*.pth')
    assert path.name == 'iter_6.pth'
    weight = load_file(path)['state_dict']['head.fc.weight']
    assert weight.isfinite().all()
    # Without the fault the run goes on as if it had not been.
    assert torch.equal(resume(cfg), uninterrupted)


def test_last_iteration_of_an_epoch(data, tmp_path):
    with pytest.raises(FloatingPointError, match='iteration 10, epoch 2'):
        train(config(data, tmp_path), At(10, spoil(float('nan'))))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


@pytest.mark.parametrize('by_epoch', [True, False])
def test_learned_weights(data, tmp_path, by_epoch):
    """A step may spoil weights although its loss was a number."""
    cfg = config(
        data, tmp_path, by_epoch=by_epoch, interval=1 if by_epoch else 5
    )
    hook = At(10, spoil(float('inf')), 'after', 'VERY_HIGH')
    with pytest.raises(FloatingPointError) as caught:
        train(cfg, hook)
    sentence = 'head.fc.weight is not finite after iteration 10 and was not'
    assert sentence in str(caught.value)
    name = 'epoch_1.pth' if by_epoch else 'iter_5.pth'
    assert [path.name for path in tmp_path.glob('*.pth')] == [name]


def test_frozen_infinities_are_no_fault(data, tmp_path):
    """A mask of a text tower, for one."""

    def mask(runner):
        runner.model.register_buffer('mask', torch.tensor([-torch.inf]))

    train(config(data, tmp_path), At(1, mask))
    assert (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('number, more', [(1, None), (8, None), (130, 122)])
def test_file_names(number, more):
    samples = [dict(img_path=f'{index}.jpg') for index in range(number)]
    text = _files(dict(data_samples=samples))
    assert text.count('.jpg') == min(number, 8)
    assert (f' and {more} more' in text) is (more is not None)


@pytest.mark.parametrize('batch', [None, {}, dict(data_samples=[{}, {}])])
def test_images_without_names(batch):
    assert 'images without names' in _files(batch)
