"""What holds for every tuner on every backbone. A new tuner is a new row."""

import copy
import pickle

import pytest
import torch
from test_tuners.tiny_backbones import NAMES, VITS, feature, plain, tuned

from lift_mm.tuners import (
    FrozenBase,
    TunerModule,
    disabled,
    freeze,
    frozen_keys,
    learned_parameters,
)

TUNERS = dict(
    adaptformer=dict(type='AdaptFormer'),
    adaptformer_last=dict(type='AdaptFormer', layers=1),
    adaptformer_list=dict(type='AdaptFormer', layers=[2, 0]),
    adaptformer_wide=dict(type='AdaptFormer', hidden_dims=7),
    adaptformer_plus=dict(type='AdaptFormer', init='lift+', sizing='lift+'),
    adapter=dict(type='Adapter'),
    lora=dict(type='LoRA', rank=2),
    lora_all=dict(
        type='LoRA', rank=3, targets=['q', 'k', 'v', 'out', 'fc1', 'fc2']
    ),
    ssf=dict(type='SSF'),
    ssf_norm=dict(type='SSF', sites='norm', layers=2),
    vpt=dict(type='VPT', length=3, init='lift+'),
    vpt_shallow=dict(type='VPT', length=2, deep=False, init='lift+'),
    masked=dict(type='MaskedTuning', ratio=0.1),
    masked_plus=dict(
        type='MaskedTuning', ratio=0.1, scope='mlp', draw='lift+', layers=1
    ),
    bitfit=dict(type='BitFit'),
    norm_tuning=dict(type='NormTuning', layers=[1]),
    full_tuning=dict(type='FullTuning', layers=1),
)
# They learn base parameters and add none.
FLAGS = ('BitFit', 'NormTuning', 'FullTuning')
# Their papers start them at random.
NOT_IDENTITY = ('ssf', 'ssf_norm', 'vpt', 'vpt_shallow')


def fits(name, tuner):
    """Say whether a tuner takes a backbone; docs list what it refuses."""
    try:
        return tuned(name, TUNERS[tuner]) is not None
    except ValueError:
        return False


PAIRS = [(n, t) for n in NAMES for t in TUNERS if fits(n, t)]


def law(function):
    return pytest.mark.parametrize('name, tuner', PAIRS)(function)


def test_every_tuner_fits_the_plain_vit():
    assert {(VITS[0], tuner) for tuner in TUNERS} <= set(PAIRS)


def learn(net, seed=2):
    """Move what learns to where training might have led it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)


def trained(name, tuner):
    net = tuned(name, TUNERS[tuner])
    learn(net)
    return net


def added(net):
    """Names of modules that a tuner brought along."""
    return [
        name
        for name, module in net.named_modules()
        if isinstance(module, TunerModule)
    ]


def check_modes(net):
    """What learns trains, what is frozen evaluates."""
    tuners = added(net)
    for key, module in net.named_modules():
        own = module.parameters(recurse=False)
        learns = any(parameter.requires_grad for parameter in own)
        assert module.training is (learns or inside(key, tuners)), key


def inside(key, names):
    return any(key == name or key.startswith(name + '.') for name in names)


@law
def test_fresh_is_identity(name, tuner):
    net, base = tuned(name, TUNERS[tuner]), plain(name)
    assert learned_parameters(net)
    if tuner in NOT_IDENTITY:
        assert not torch.equal(feature(net), feature(base))
        return
    assert torch.equal(feature(net), feature(base))
    net.train()
    assert torch.equal(feature(net), feature(base))


@law
def test_trained_is_not_identity(name, tuner):
    assert not torch.equal(feature(trained(name, tuner)), feature(plain(name)))


@law
def test_gradients_only_where_tuned(name, tuner):
    net = trained(name, tuner)
    net.train()
    out = feature(net)
    (out * torch.randn_like(out)).sum().backward()
    learned = learned_parameters(net)
    for key, parameter in net.named_parameters():
        if key in learned:
            assert parameter.grad.any() or not parameter.numel(), key
        else:
            assert parameter.grad is None, key
    for key in learned:
        own = inside(key, added(net))
        assert own or TUNERS[tuner]['type'] in FLAGS, key
    base = plain(name).state_dict()
    for key in base.keys() - learned.keys():
        value = base[key]
        assert torch.equal(net.state_dict()[key], value), key


@law
def test_frozen_parts_stay_in_eval(name, tuner):
    net = trained(name, tuner)
    expected = feature(net)
    net.train()
    check_modes(net)
    assert torch.equal(feature(net), expected)
    base = plain(name).state_dict()
    for key in frozen_keys(net):  # BatchNorm's statistics, too
        assert torch.equal(net.state_dict()[key], base[key]), key
    net.eval()
    assert not any(module.training for module in net.modules())


@law
def test_disabled_is_the_base(name, tuner):
    net = trained(name, tuner)
    expected, base = feature(net), feature(plain(name))
    with disabled(net):
        assert torch.equal(feature(net), base)
        with disabled(net):
            assert torch.equal(feature(net), base)
        assert torch.equal(feature(net), base)
    assert torch.equal(feature(net), expected)
    with pytest.raises(KeyError), disabled(net):
        raise KeyError
    assert torch.equal(feature(net), expected)


@law
def test_state_dict_round_trip(name, tuner):
    net = trained(name, tuner)
    base, learned = plain(name).state_dict(), learned_parameters(net).keys()
    other = tuned(name, TUNERS[tuner])
    # SwinV2 never loads some of its tables.
    usual = plain(name).load_state_dict(base, strict=False).missing_keys
    result = other.load_state_dict(base, strict=False)
    assert not result.unexpected_keys
    tuned_keys = net.state_dict().keys() - base.keys()
    assert set(result.missing_keys) == tuned_keys | set(usual)
    assert frozen_keys(net) == base.keys() - learned

    frozen = frozen_keys(net)
    small = {k: v for k, v in net.state_dict().items() if k not in frozen}
    result = other.load_state_dict(small, strict=False)
    assert not result.unexpected_keys
    assert torch.equal(feature(other), feature(net))


@law
def test_copies_are_independent(name, tuner):
    net = trained(name, tuner)
    expected = feature(net)
    clone = copy.deepcopy(net)
    assert torch.equal(feature(clone), expected)
    learn(clone, seed=3)
    assert not torch.equal(feature(clone), expected)
    assert torch.equal(feature(net), expected)
    with disabled(clone):
        assert torch.equal(feature(net), expected)
    clone.train()  # its guard is its own as well
    assert not any(module.training for module in net.modules())
    check_modes(clone)


@law
def test_pickle(name, tuner):
    net = trained(name, tuner)
    clone = pickle.loads(pickle.dumps(net))
    assert torch.equal(feature(clone), feature(net))
    with disabled(clone):
        assert torch.equal(feature(clone), feature(plain(name)))


@pytest.mark.parametrize(
    'name, tuner',
    [(name, 'adaptformer_list') for name in VITS]
    + [(VITS[0], t) for t in TUNERS if 'adaptformer_' not in t],
)
@pytest.mark.usefixtures('compiler')
def test_compile(name, tuner):
    torch.compiler.reset()
    net = trained(name, tuner)
    net.train()
    expected = feature(net)
    expected.sum().backward()
    grads = {k: p.grad for k, p in learned_parameters(net).items()}
    net.zero_grad()
    compiled = torch.compile(net, fullgraph=True, backend='eager')
    out = feature(compiled)
    assert torch.equal(out, expected)
    out.sum().backward()
    for key, parameter in learned_parameters(net).items():
        torch.testing.assert_close(parameter.grad, grads[key])


@law
def test_freezing_twice_changes_nothing(name, tuner):
    net = trained(name, tuner)
    before = {k: p.requires_grad for k, p in net.named_parameters()}
    keys, guard = list(net.state_dict()), net.frozen_base
    assert freeze(net, 'again') is guard
    assert {k: p.requires_grad for k, p in net.named_parameters()} == before
    assert list(net.state_dict()) == keys
    guards = [m for m in net.modules() if isinstance(m, FrozenBase)]
    assert guards == [guard]


def held_tensors(net):
    return [
        (name, key)
        for name, module in net.named_modules()
        if isinstance(module, TunerModule)
        for key, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]


@law
def test_nothing_is_left_of_a_forward(name, tuner):
    net = trained(name, tuner)
    with torch.no_grad():
        expected = feature(net)
    assert not held_tensors(net)
    first, second = feature(net), feature(net)  # no backward between
    assert torch.equal(first, expected) and torch.equal(second, expected)
    assert not held_tensors(net)
    with disabled(net):
        feature(net)
    assert not held_tensors(net)


@law
def test_half_precision_under_autocast(name, tuner):
    net = trained(name, tuner)
    with torch.autocast('cpu', torch.bfloat16):
        out = feature(net)
    out.float().sum().backward()
    expected = feature(net)
    assert (out.float() - expected).norm() < 0.05 * expected.norm()
    for key, parameter in learned_parameters(net).items():
        assert parameter.grad.dtype == torch.float32, key
