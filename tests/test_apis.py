"""Tuned states that come and go over one backbone, and merged models."""

import copy
import time

import parity_models
import pytest
import torch
from mmpretrain.models.classifiers import ImageClassifier

from lift_mm import apis
from lift_mm.tuners import FrozenBase, disabled, learned_parameters

TUNERS = [
    dict(type='AdaptFormer'),
    dict(type='BitFit'),
    dict(type='MaskedTuning', ratio=0.1),
    dict(type='VPT', length=2),
]


def trained(model, seed, classes='abc'):
    """Give a copy of a model as some training might have left it."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise)
    model.set_class_info([f'{classes}{i}' for i in range(40)])
    return model


@torch.no_grad()
def logits(model):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return model(x, mode='tensor')


@pytest.fixture(scope='module')
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clip')
    return parity_models.build(folder, TUNERS)


@pytest.fixture
def one(fresh):
    return trained(fresh, 1)


@pytest.fixture
def two(fresh):
    return trained(fresh, 2, 'other')


def same(state, other):
    assert state.keys() == other.keys()
    for key in state:
        assert torch.equal(state[key], other[key]), key


def test_tuned_state_is_what_was_learned(one):
    state = apis.tuned_state(one)
    learned = learned_parameters(one).keys()
    assert learned < state.keys()
    rest = {key.rpartition('.')[2] for key in state.keys() - learned}
    assert rest == {'fingerprint', 'weight_index', 'bias_index'}
    assert not any(value.requires_grad for value in state.values())
    own = one.state_dict()
    assert all(state[k].data_ptr() != own[k].data_ptr() for k in learned)


def test_swap_and_restore(fresh, one, two, tmp_path):
    model, expected = copy.deepcopy(fresh), logits(one)
    before, base = logits(model), fresh.state_dict()
    start = apis.tuned_state(model)
    path = tmp_path / 'two.pth'
    meta = dict(dataset_meta=dict(classes=list('xy'), class_counts=[3, 1]))
    torch.save(dict(meta=meta, state_dict=apis.tuned_state(two)), path)

    assert apis.load_tuned(model, apis.tuned_state(one)) is model
    assert torch.equal(logits(model), expected)
    same(model.state_dict(), one.state_dict())
    apis.load_tuned(model, path)  # of other classes
    assert torch.equal(logits(model), logits(two))
    same(model.state_dict(), two.state_dict())
    assert model._dataset_meta['classes'] == ['x', 'y']
    assert model.head.class_counts == [3, 1]
    with disabled(model):
        feats = model.backbone(torch.ones(1, 3, 32, 32))[0]
        with disabled(fresh):
            base_feats = fresh.backbone(torch.ones(1, 3, 32, 32))[0]
        assert torch.equal(feats, base_feats)
    apis.load_tuned(model, start)
    assert torch.equal(logits(model), before)
    same(model.state_dict(), base)


def test_base_values_come_back(fresh, two):
    model = copy.deepcopy(two)
    state = apis.tuned_state(trained(fresh, 3))
    originals = fresh.state_dict()
    biases = [key for key in state if key in model_keys(fresh)]
    assert biases
    for key in biases:
        del state[key]
    apis.load_tuned(model, state)
    for key in biases:
        assert torch.equal(model.state_dict()[key], originals[key])


def model_keys(model):
    (guard,) = (m for m in model.modules() if isinstance(m, FrozenBase))
    return {f'backbone.{key}' for key in guard.keys}


def test_refused_and_nothing_changed(fresh, one, tmp_path):
    state = apis.tuned_state(one)
    other_tuners = parity_models.build(tmp_path, TUNERS[:1])
    other_classes = parity_models.build(tmp_path, TUNERS, num_classes=41)
    other_base = copy.deepcopy(fresh)
    whole = {k: v.clone() for k, v in fresh.state_dict().items()}
    whole['backbone.cls_token'] += 1
    other_base.load_state_dict(whole)
    known = fresh.backbone.frozen_base.fingerprint[:8]
    new = other_base.backbone.frozen_base.fingerprint[:8]
    for model, words in (
        (other_tuners, ['tuners', 'BitFit', 'model.backbone.tuners']),
        (other_classes, ['num_classes 40', '41', 'model.head.num_classes']),
        (other_base, [known, new, 'model.backbone.backbone']),
    ):
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError) as caught:
            apis.load_tuned(model, state)
        assert all(word in str(caught.value) for word in words)
        same(model.state_dict(), before)

    model = copy.deepcopy(fresh)
    before = copy.deepcopy(model.state_dict())
    torn = {k: v for k, v in state.items() if 'adaptformer.up' not in k}
    shape = {**state, 'head.fc.weight': torch.zeros(40, 3)}
    for wrong, word in (
        (torn, 'is absent'),
        (shape, r'\(40, 3\)'),
        ({'x': torch.zeros(1)}, 'no fingerprint'),
    ):
        with pytest.raises(ValueError, match=word):
            apis.load_tuned(model, wrong)
    with disabled(model), pytest.raises(ValueError, match='disabled'):
        apis.load_tuned(model, state)
    same(model.state_dict(), before)
    for use in (lambda net: apis.load_tuned(net, state), apis.TunedBank):
        with pytest.raises(ValueError, match='LongTailClassifier'):
            use(model.backbone)
    for source in (None, 5):
        with pytest.raises(ValueError, match='neither the path'):
            apis.load_tuned(model, source)


def test_bank(fresh, one, two, tmp_path):
    model = copy.deepcopy(fresh)
    before = logits(model)
    bank = apis.TunedBank(model)
    bank.add('one', apis.tuned_state(one))
    torch.save(dict(state_dict=apis.tuned_state(two)), tmp_path / 'two.pth')
    bank.add('two', tmp_path / 'two.pth')
    for _ in range(2):
        assert torch.equal(logits(bank.use('two')), logits(two))
        assert torch.equal(logits(bank.use('one')), logits(one))
        assert torch.equal(logits(bank.use(None)), before)
    same(model.state_dict(), fresh.state_dict())
    with pytest.raises(ValueError, match="known: None, 'one', 'two'"):
        bank.use('three')
    with pytest.raises(ValueError, match='no fingerprint'):
        bank.add('four', {})


def test_swapping_reads_no_base_weight(fresh, one, two):
    """The time does not grow with the base: no copy, no hash of it."""
    model, states = copy.deepcopy(fresh), map(apis.tuned_state, (one, two))
    versions = {k: v._version for k, v in model.state_dict().items()}
    times = []
    for state in [*states] * 3:
        start = time.perf_counter()
        apis.load_tuned(model, state)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1
    for key, value in model.state_dict().items():
        if key in model_keys(model) and key not in learned_parameters(model):
            assert value._version == versions[key], key


def test_merged_classifier(fresh, one, tmp_path):
    tuned = parity_models.build(
        tmp_path, [*TUNERS[:3], dict(type='SSF'), dict(type='LoRA', rank=2)]
    )
    model = trained(tuned, 4)
    expected = logits(model)
    merged = apis.merge(model, strict=True)
    error = (logits(merged) - expected).norm() / expected.norm()
    assert error < 1e-5
    assert merged.unmerged == []
    assert isinstance(merged, ImageClassifier)
    # It is another model now, whose own checkpoints fit it.
    with pytest.raises(ValueError, match='this model has none'):
        merged.load_state_dict(apis.tuned_state(model), strict=False)
    merged.load_state_dict(copy.deepcopy(merged.state_dict()))
    same(model.state_dict(), trained(tuned, 4).state_dict())


@torch.no_grad()
def test_merging_the_backbone_alone(one):
    merged = apis.merge(one.backbone)
    assert [s.split()[0] for s in merged.unmerged] == ['VPT']
    x = torch.ones(1, 3, 32, 32)
    found, expected = merged(x)[0], one.backbone(x)[0]
    assert parity_models.relative(found, expected) < 1e-5
