"""What holds for every loss. A new loss is a new row of ``cases.LOSSES``."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.structures import DataSample
from test_models.test_losses.cases import (
    COUNTING,
    COUNTS,
    HARD,
    LADE,
    LOSSES,
    NAMES,
    SOFT,
    WEIGHTED,
    batch,
    build,
    one_hot,
)


def law(names=LOSSES):
    return pytest.mark.parametrize('name', names)


def same(one, other, rel=1e-5):
    torch.testing.assert_close(one, other, rtol=rel, atol=1e-6)


@law([name for name in LOSSES if name not in LADE])
def test_a_constant_added_to_a_row_changes_nothing(name):
    logits, labels = batch()
    loss = build(name)
    same(loss(logits + 50 * torch.randn(9, 1), labels), loss(logits, labels))


@law()
def test_order_of_classes_does_not_matter(name):
    logits, labels = batch()
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    moved = build(name, [COUNTS[k] for k in order])
    expected = build(name)(logits, labels)
    same(moved(logits[:, order], order.argsort()[labels]), expected)


@law()
def test_it_is_not_plain_cross_entropy_in_training(name):
    logits, labels = batch()
    plain = F.cross_entropy(logits, labels)
    assert abs(build(name)(logits, labels) / plain - 1) > 0.01


@law()
def test_it_is_plain_cross_entropy_in_validation(name):
    logits, labels = batch()
    settings = dict(scale=None) if 'ldam' in name else {}
    loss = build(name, None, **settings).eval()  # knows no counts or scale
    losses = F.cross_entropy(logits, labels, reduction='none')
    with torch.no_grad():
        assert loss(logits, labels, reduction_override='none').equal(losses)
        same(loss(logits, labels), losses.mean())
        weight = torch.rand(9)
        same(loss(logits, labels, weight, 4), (weight * losses).sum() / 4)
    # In eval mode or without gradients alone it is none of a validation.
    training = build(name)(logits, labels)
    assert build(name).eval()(logits, labels) == training
    with torch.no_grad():
        assert build(name)(logits, labels) == training


@law()
def test_reductions(name):
    logits, labels = batch()
    loss = build(name, loss_weight=0.5)
    none = loss(logits, labels, reduction_override='none')
    total = build(name, reduction='sum', loss_weight=0.5)(logits, labels)
    assert none.shape == (9,)
    same(none.sum(), total)
    same(2 * none, build(name, reduction='none')(logits, labels))
    size = loss.class_weight[labels].sum() if name in WEIGHTED else 9
    same(loss(logits, labels), total / size)
    same(loss(logits, labels, avg_factor=3), total / size * 9 / 3)


@law()
def test_weight_of_samples(name):
    logits, labels = batch()
    weight = torch.rand(9).half()
    loss = build(name)
    none = loss(logits, labels, reduction_override='none')
    got = loss(logits, labels, weight, reduction_override='none')
    same(got, weight.float() * none)
    got = loss(logits, labels, weight, reduction_override='sum')
    same(got, (weight.float() * none).sum())
    mean = 1
    if name in WEIGHTED:
        mean = (weight * loss.class_weight[labels]).sum() / weight.sum()
    got = loss(logits, labels, weight, avg_factor=5)
    same(got, (weight * none).sum() / 5 / mean, rel=1e-3)
    assert loss(logits, labels, torch.zeros(9)) == 0
    assert loss(logits, labels, weight.double()).dtype == torch.float32


@law([name for name in LOSSES if name not in LADE])
def test_samples_of_weight_zero_leave_no_trace(name):
    logits, labels = batch()
    weight = (torch.arange(9) < 4).float()
    loss = build(name)
    got = loss(logits, labels, weight, avg_factor=4)
    same(got, loss(logits[:4], labels[:4]))


@law(SOFT)
def test_probabilities_give_the_mixture(name):
    logits, _ = batch()
    loss = build(name, reduction='none')
    target = torch.rand(9, 7).softmax(1)
    expected = sum(
        target[:, k] * loss(logits, torch.full((9,), k)) for k in range(7)
    )
    same(loss(logits, target), expected)


@law(SOFT)
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('training', [True, False])
def test_one_hot_probabilities_are_labels(name, reduction, training):
    logits, labels = batch()
    loss = build(name, reduction=reduction).train(training)
    weight = torch.rand(9)
    for target in (one_hot(labels), one_hot(labels).long()):
        with torch.set_grad_enabled(training):
            got = loss(logits, target, weight)
            same(got, loss(logits, labels, weight))


@law(HARD)
def test_probabilities_are_refused(name):
    logits, labels = batch()
    with pytest.raises(ValueError, match=r'\(9, 7\).*train_cfg.augments'):
        build(name)(logits, one_hot(labels))


def gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert value.isfinite() and value.dtype == torch.float32
    assert logits.grad.isfinite().all() and logits.grad.dtype == logits.dtype
    return value


@law()
@pytest.mark.parametrize('counts', [[1] * 7, [10**12, 1, 10**9, 2, 3, 4, 5]])
@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
def test_extremes_are_finite(name, counts, dtype):
    loss = build(name, counts)
    for size in (1, 9):
        logits, labels = batch(size)
        own = one_hot(labels)
        # Undecided, usual, and as sure as float16 can be: of many classes,
        # of the right one and of a wrong one.
        for case in (0 * logits, logits, 1e4 * logits, 6e4 * own, -6e4 * own):
            case = case.clamp(-6e4, 6e4).to(dtype)
            gradient(loss, case, labels)
            if name in SOFT:
                gradient(loss, case, own)


@law()
def test_autocast_does_not_reach_the_loss(name):
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 7)
    labels = batch()[1]
    targets = [labels] + [one_hot(labels)] * (name in SOFT)
    loss = build(name)
    for target in targets:
        layer.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            logits = layer(torch.randn(9, 4))
            value = loss(logits, target)
        assert logits.dtype == torch.bfloat16
        assert value.dtype == torch.float32
        assert value == loss(logits.float(), target)
        value.backward()
        assert layer.weight.grad.isfinite().all()
        assert layer.weight.grad.any()


@law()
def test_checkpoints_and_copies(name):
    logits, labels = batch()
    loss = build(name)
    expected = loss(logits, labels)
    assert not loss.state_dict() and not list(loss.parameters())
    for clone in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert clone(logits, labels) == expected
    assert all(b.is_meta for b in copy.deepcopy(loss).to('meta').buffers())
    assert len(list(loss.buffers())) == (name in COUNTING)


@law(COUNTING)
def test_counts_of_the_dataset_are_those_of_a_config(name):
    logits, labels = batch()
    loss = build(name, None)
    loss.set_class_info(NAMES)  # a test set, which does not count
    with pytest.raises(ValueError, match='needs 7 class counts and has none'):
        loss(logits, labels)
    loss.set_class_info(NAMES, COUNTS)
    assert loss(logits, labels) == build(name)(logits, labels)
    loss.set_class_info(NAMES, COUNTS[::-1])  # another training set
    backwards = build(name, COUNTS[::-1])
    assert loss(logits, labels) == backwards(logits, labels)
    backwards.set_class_info(NAMES, COUNTS)  # the config goes first
    assert loss(logits, labels) == backwards(logits, labels)


@law(COUNTING)
def test_counts_that_do_not_fit(name):
    with pytest.raises(ValueError, match="1 classes .*first 'owl'"):
        build(name, None).set_class_info(['fox', 'owl'], [3, 0])
    given = build(name)
    with pytest.raises(ValueError, match='dataset has 2 classes.*knows 7'):
        given.set_class_info(['fox', 'owl'], [3, 2])
    with pytest.raises(ValueError, match='head gives 5 logits.*knows 7'):
        given(torch.zeros(1, 5), torch.tensor([0]))


@law()
def test_in_a_head_of_mmpretrain(name):
    torch.manual_seed(0)
    head = LinearClsHead(7, 4, loss=build(name))
    feats, labels = torch.randn(9, 4), batch()[1]
    samples = [DataSample().set_gt_label(int(k)) for k in labels]
    got = head.loss((feats,), samples)['loss']
    # It divides by the size of the batch, and weighted means stay what
    # they are.
    same(got, head.loss_module(head.fc(feats), labels))
    if name in SOFT:
        for sample, row in zip(samples, one_hot(labels)):
            sample.set_gt_score(row)
        same(head.loss((feats,), samples)['loss'], got)


@pytest.mark.parametrize(
    'name, key, value',
    [
        ('class_balanced', 'beta', 1.0),
        ('class_balanced', 'beta', -0.1),
        ('focal', 'gamma', -1),
        ('focal', 'gamma', None),
        ('lade', 'weight', -0.1),
        ('lade', 'remine_lambda', 'a lot'),
        ('ldam', 'max_margin', -0.5),
        ('ldam', 'scale', 0),
        ('logit_adjusted', 'tau', '1'),
        ('logit_adjusted', 'tau', float('nan')),
        ('logit_adjusted', 'tau', True),
        ('reweighted', 'exponent', float('inf')),
        *[(name, 'reduction', 'max') for name in LOSSES],
        *[(name, 'loss_weight', 'heavy') for name in LOSSES],
    ],
)
def test_impossible_settings(name, key, value):
    text = f'{key}={value!r} of {LOSSES[name]["type"]} must be .*'
    with pytest.raises(ValueError, match=f'{text}model.head.loss.{key}`'):
        build(name, **{key: value})
