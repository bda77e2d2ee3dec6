"""Rows from features, against the published programs."""

import logging

import parity_data
import pytest
import torch
from parity_models import relative

from lift_mm.models.inits import linear_probe
from lift_mm.models.inits.class_mean import class_mean_rows
from lift_mm.models.inits.linear_probe import linear_probe_rows

NORMALIZED = torch.nn.functional.normalize


@pytest.fixture(scope='module')
def data():
    return parity_data.load('inits')


@pytest.mark.parametrize('batch', [1, 32, 155])
def test_class_mean(data, batch):
    features, labels = data['features'], data['labels']
    batches = zip(labels.split(batch), features.split(batch))
    rows = class_mean_rows(batches, (8, 32))
    assert rows.dtype == torch.float32
    for name in ('v1/class_mean', 'plus/class_mean'):
        assert relative(rows, data[f'{name}/head.weight']) < 1e-5
    logits = 30 * NORMALIZED(features[:10]) @ rows.T
    assert relative(logits, data['v1/class_mean/logits_s30']) < 1e-5


def test_class_mean_of_many_images(data):
    """Float32 sums of a million would be off by more than this."""
    feature = data['features'][:1].expand(1000, -1)
    batches = ((torch.zeros(1000, dtype=torch.long), feature),) * 1000
    rows = class_mean_rows(iter(batches), (1, 32))
    assert relative(rows, NORMALIZED(feature[:1].double())) < 1e-7


def test_linear_probe(data):
    rows = linear_probe_rows(data['features'], data['labels'])
    for name in ('v1/linear_probe', 'plus/linear_probing'):
        assert relative(rows, data[f'{name}/head.weight']) < 1e-3
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(8))


def test_linear_probe_of_two_classes(data):
    two = data['labels'] < 2
    features, labels = data['features'][two], data['labels'][two]
    rows = linear_probe_rows(features, labels)
    assert rows.shape == (2, 32) and torch.equal(rows[0], -rows[1])
    assert (features @ rows.T).argmax(1).eq(labels).float().mean() > 0.9


def test_linear_probe_that_does_not_converge(data, monkeypatch, recwarn):
    said = []
    monkeypatch.setattr(
        linear_probe,
        'print_log',
        lambda text, level=logging.INFO, **kwargs: said.append((level, text)),
    )
    linear_probe_rows(data['features'], data['labels'])
    assert [level for level, _ in said] == [logging.INFO] * 2
    assert all('155 images of 8 classes' in text for _, text in said)
    monkeypatch.setattr(linear_probe, '_MAX_ITER', 2)
    linear_probe_rows(data['features'], data['labels'])
    level, text = said[-1]
    assert level == logging.WARNING and 'not converged in 2 rounds' in text
    assert not [w for w in recwarn if 'lbfgs' in str(w.message)]
