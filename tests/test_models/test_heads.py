"""``CosineHead`` against plain torch."""

import pytest
import torch
from mmpretrain.structures import DataSample

from lift_mm.models import CosineHead
from lift_mm.registry import MODELS


@pytest.mark.parametrize('scale', [25.0, 30, 0.5])
def test_formula(scale):
    torch.manual_seed(0)
    head = CosineHead(5, 7, scale=scale).double()
    with torch.no_grad():
        head.fc.weight.mul_(torch.rand(5, 1).double() + 0.5)
    x = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    got = head((torch.zeros(4, 2), x))  # the last feature counts
    w = head.fc.weight.detach().clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    lengths = y.norm(dim=1)[:, None] * w.norm(dim=1)[None]
    expected = scale * (y @ w.T) / lengths
    torch.testing.assert_close(got, expected)
    weight = torch.randn_like(got)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(head.fc.weight.grad, w.grad)


def test_rows_start_at_unit_length():
    head = CosineHead(50, 16)
    lengths = head.fc.weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(50))
    assert (head.fc.weight < 0).any() and (head.fc.weight > 0).any()
    assert [name for name, _ in head.named_parameters()] == ['fc.weight']


@pytest.mark.parametrize('key', ['num_classes', 'in_channels', 'scale'])
@pytest.mark.parametrize('value', [0, -3, None, '7', float('nan')])
def test_wrong_sizes(key, value):
    settings = dict(num_classes=5, in_channels=7) | {key: value}
    with pytest.raises(ValueError, match=f'`model.head.{key}`') as refusal:
        CosineHead(**settings)
    assert f'{key}={value!r}' in str(refusal.value)


@pytest.mark.parametrize('key', ['num_classes', 'in_channels'])
def test_sizes_are_whole_numbers(key):
    settings = dict(num_classes=5, in_channels=7) | {key: 2.5}
    with pytest.raises(ValueError, match=f'{key}=2.5 .*positive int'):
        CosineHead(**settings)


@pytest.mark.parametrize('names', [['a', 'b'], ['a'] * 4])
def test_names_that_do_not_fit(names):
    head = CosineHead(3, 7)
    with pytest.raises(ValueError, match='num_classes=3') as refusal:
        head.set_class_info(names)
    text = str(refusal.value)
    assert '`model.head.num_classes`' in text and '`classes`' in text
    assert f'{len(names)} class names' in text
    assert head.class_names is None


class Rows:
    """An ``init`` that counts how often it is asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, names, weight):
        self.asked.append(names)
        return torch.eye(*weight.shape)


def test_rows_are_initialised_once():
    head = CosineHead(2, 3, init=Rows())
    head.set_class_info(['a', 'b'])
    for _ in range(2):
        head.init_weights()
    assert head.init.asked == [('a', 'b')]
    assert torch.equal(head.fc.weight, torch.eye(2, 3))
    assert head.fc.weight.requires_grad


def test_no_initialisation_when_a_checkpoint_will_come():
    head = CosineHead(2, 3, init=Rows())
    head.is_init = True
    before = head.fc.weight.clone()
    head.init_weights()
    assert head.init.asked == []
    assert torch.equal(head.fc.weight, before)


def test_losses_of_mmpretrain():
    head = MODELS.build(
        dict(
            type='lift_mm.CosineHead',
            num_classes=4,
            in_channels=6,
            topk=(1, 2),
            cal_acc=True,
            loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
        )
    )
    samples = [DataSample().set_gt_label(label) for label in (0, 3)]
    feats = (torch.randn(2, 6),)
    losses = head.loss(feats, samples)
    assert losses.keys() == {'loss', 'accuracy_top-1', 'accuracy_top-2'}
    with torch.no_grad():
        log_p = head(feats).log_softmax(1)
    smooth = 0.9 * torch.eye(4)[[0, 3]] + 0.1 / 4
    expected = -(smooth * log_p).sum(1).mean()
    assert losses['loss'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_init_that_is_no_config():
    with pytest.raises(TypeError, match="init='SemanticInit'.*`model.head"):
        CosineHead(2, 3, init='SemanticInit')


@pytest.mark.parametrize('counts', [None, [3, 1], [3, 1, 0]])
def test_counts_that_do_not_fit_post_hoc_adjustment(counts):
    head = CosineHead(3, 7, post_hoc_tau=1.0, class_counts=counts)
    with pytest.raises(ValueError, match='3 classes.*head.class_counts'):
        head.predict((torch.randn(1, 7),), [DataSample()])
