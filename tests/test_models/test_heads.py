"""Heads against plain torch and the published programs; laws of all."""

import parity_data
import pytest
import torch
from mmpretrain.structures import DataSample
from parity_models import relative
from test_tuners.tiny_models import clip_file, logits, model_config

from lift_mm import apis
from lift_mm.models import CosineHead, L2NormHead, LayerNormHead, LinearHead
from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters

HEADS = {
    CosineHead: ('v1/CosineClassifier', 'plus/CosineClassifier'),
    LinearHead: ('v1/LinearClassifier', 'plus/LinearClassifier'),
    L2NormHead: ('v1/L2NormedClassifier', 'plus/L2NormClassifier'),
    LayerNormHead: ('v1/LayerNormedClassifier', 'plus/LayerNormClassifier'),
}
every_head = pytest.mark.parametrize(
    'kind', HEADS, ids=lambda kind: kind.__name__
)


# Laws of every head


@every_head
def test_published_logits(kind):
    data = parity_data.load('inits')
    head = kind(*data['classifiers/weight'].shape)
    with torch.no_grad():
        head.fc.weight.copy_(data['classifiers/weight'])
        if kind is LinearHead:
            head.fc.bias.copy_(data['classifiers/bias'])
    found = head((data['classifiers/x'],))
    for name in HEADS[kind]:
        assert relative(found, data[f'classifiers/{name}']) < 1e-5, name


@every_head
def test_names_and_start(kind):
    head = kind(400, 768)
    bias = {'fc.bias'} if kind is LinearHead else set()
    assert {name for name, _ in head.named_parameters()} == {
        'fc.weight',
        *bias,
    }
    weight = head.fc.weight.detach()
    assert weight.shape == (400, 768)
    assert abs(float(weight.mean())) < 1e-3
    if bias:
        assert float(weight.std()) == pytest.approx(0.05103, rel=0.01)
        assert not head.fc.bias.any()
    else:
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(400))
    assert head((torch.zeros(2, 3), torch.randn(5, 768))).shape == (5, 400)


@every_head
def test_init_gives_the_rows(kind):
    head = kind(2, 3, init=Rows())
    with torch.no_grad():
        if kind is LinearHead:  # as a checkpoint without fitting rows may
            head.fc.bias.fill_(7)
    head.set_class_info(['a', 'b'])
    head.init_weights()
    assert torch.equal(head.fc.weight, torch.eye(2, 3))
    assert kind is not LinearHead or not head.fc.bias.any()


@every_head
@pytest.mark.parametrize('mode', ['autocast', 'module'])
def test_half_precision(kind, mode):
    torch.manual_seed(0)
    head = kind(5, 64)
    x = 3 * torch.randn(4, 64)
    expected = head((x,)).detach()
    if mode == 'autocast':
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found = head((x.bfloat16(),))
    else:
        found = head.bfloat16()((x.bfloat16(),))
    assert relative(found, expected) < 0.02


@every_head
def test_gradients_reach_the_feature_and_the_rows(kind):
    head = kind(5, 7)
    x = torch.randn(4, 7, requires_grad=True)
    head((x,)).pow(2).sum().backward()
    for value in (x, *head.parameters()):
        assert value.grad.abs().max() > 0


@every_head
def test_post_hoc_adjustment(kind):
    head = kind(3, 7, post_hoc_tau=1.0, class_counts=[6, 3, 1])
    x = torch.randn(2, 7)
    found = head.predict((x,), [DataSample(), DataSample()])
    prior = torch.tensor([0.6, 0.3, 0.1]).log()
    expected = (head((x,)) - prior).softmax(1)
    for sample, scores in zip(found, expected):
        torch.testing.assert_close(sample.pred_score, scores)


class Margins(torch.nn.Module):
    """A loss whose margins want to grow with the logits."""

    def __init__(self, scale=None):
        super().__init__()
        self.scale = scale


@every_head
def test_scale_reaches_the_loss(kind):
    head = kind(3, 7, loss=Margins())
    assert head.loss_module.scale == (25 if kind is CosineHead else 1)
    assert kind(3, 7, loss=Margins(30.0)).loss_module.scale == 30


def test_own_scale_reaches_the_loss():
    assert CosineHead(3, 7, scale=4.0, loss=Margins()).loss_module.scale == 4


@every_head
def test_tuned_state_comes_back(tmp_path, kind):
    """Through torch's loader and ours, and only into its own model."""

    def build(classes=3, seed=0):
        path = clip_file(tmp_path, seed)
        config = model_config(path, num_classes=classes)
        config['head']['type'] = kind
        model = MODELS.build(config)
        model.eval()
        return model

    trained = build()
    with torch.no_grad():
        for parameter in learned_parameters(trained).values():
            parameter.add_(torch.randn_like(parameter))
    state = apis.tuned_state(trained)
    heads = {key for key in state if key.startswith('head.')}
    assert heads == {f'head.{name}' for name in trained.head.state_dict()}
    for load in (
        lambda model: model.load_state_dict(dict(state), strict=False),
        lambda model: apis.load_tuned(model, state),
    ):
        fresh = build()
        assert not torch.equal(logits(fresh), logits(trained))
        load(fresh)
        assert torch.equal(logits(fresh), logits(trained))
        with pytest.raises(ValueError, match='num_classes'):
            load(build(classes=4))
        with pytest.raises(ValueError, match='made for base'):
            load(build(seed=1))


@every_head
@pytest.mark.parametrize('key', ['num_classes', 'in_channels'])
def test_wrong_size_names_the_head(kind, key):
    settings = dict(num_classes=5, in_channels=7) | {key: 0}
    with pytest.raises(ValueError, match=f'{key}=0 of {kind.__name__} '):
        kind(**settings)


def test_only_the_cosine_has_a_scale():
    for kind in HEADS.keys() - {CosineHead}:
        with pytest.raises(TypeError, match='scale'):
            kind(3, 7, scale=25.0)


# The cosine head


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
