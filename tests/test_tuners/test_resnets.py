"""Tuners on the ResNets of CLIP, mmpretrain and timm."""

import copy
import pickle

import pytest
import torch
from parity_models import relative
from test_models.test_clip_resnet import (
    TINY,
    TINY_VIT,
    build_resnet,
    classifier,
    clip_resnet,
    feature,
    images,
)
from torch import nn

from lift_mm.registry import MODELS
from lift_mm.tuners import disabled, frozen_keys, learned_parameters
from lift_mm.tuners.merge import fold

TUNERS = dict(
    ssf=[dict(type='SSF')],
    bitfit=[dict(type='BitFit')],
    bitfit_plus=[dict(type='BitFit', scope='lift+')],
    bitfit_last=[dict(type='BitFit', layers=1)],
    norm=[dict(type='NormTuning')],
    norm_plus=[dict(type='NormTuning', scope='lift+')],
    norm_list=[dict(type='NormTuning', layers=[0, 3])],
    full=[dict(type='FullTuning')],
    full_plus=[dict(type='FullTuning', scope='lift+')],
    full_last=[dict(type='FullTuning', layers=2)],
    ssf_bitfit=[dict(type='SSF'), dict(type='BitFit')],
    ssf_norm=[dict(type='NormTuning'), dict(type='SSF')],
)
BLOCKS = 5
# The convolutions of 2.6 differ in the last bit from call to call.
EXACT = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 7)
# In which blocks base parameters learn; None is the whole net.
LEARNT = dict(
    bitfit=None,
    bitfit_plus=range(BLOCKS),
    bitfit_last=[4],
    norm=None,
    norm_plus=range(BLOCKS),
    norm_list=[0, 3],
    full=None,
    full_plus=range(BLOCKS),
    full_last=[3, 4],
    ssf_bitfit=None,
    ssf_norm=None,
)
# Names of the blocks.
PLACES = ['layer1.0', 'layer2.0', 'layer2.1', 'layer3.0', 'layer4.0']
law = pytest.mark.parametrize('name', TUNERS)


def same(one, other):
    return torch.equal(one, other) if EXACT else relative(one, other) < 1e-6


@pytest.fixture(scope='module')
def plain():
    net = clip_resnet(TINY)
    net.load_state_dict(build_resnet().visual.state_dict())
    return net


def tune(net, tuners):
    backbone = copy.deepcopy(net)
    config = dict(type='lift_mm.TunedBackbone', tuners=tuners)
    net = MODELS.build(dict(config, backbone=backbone, num_classes=30))
    net.eval()
    return net


def train(net, steps=2):
    """Take steps of SGD in train mode."""
    net.train()
    learned = list(learned_parameters(net).values())
    optimizer = torch.optim.SGD(learned, lr=0.1)
    for _ in range(steps):
        (out,) = net(images())
        optimizer.zero_grad()
        (out.square() * torch.linspace(-1, 1, 16)).sum().backward()
        nn.utils.clip_grad_norm_(learned, 1)
        optimizer.step()
    assert out.isfinite().all()
    return net


def is_learnt(name, key, net):
    """Say by independent rules whether a base parameter learns."""
    if name not in LEARNT:
        return False
    if LEARNT[name] is not None:
        places = [PLACES[index] + '.' for index in LEARNT[name]]
        if not key.startswith(tuple(places)):
            return False
    if 'norm' in name:
        module = net.get_submodule(key.rpartition('.')[0])
        return isinstance(module, nn.BatchNorm2d)
    return key.endswith('bias') or 'full' in name


@law
def test_what_learns(plain, name):
    net = train(tune(plain, TUNERS[name]))
    own, base = net.state_dict(), plain.state_dict()
    for key, parameter in plain.named_parameters():
        learnt, tuned = is_learnt(name, key, plain), net.get_parameter(key)
        assert tuned.requires_grad is learnt, key
        if not learnt:
            assert torch.equal(own[key], parameter), key
        elif 'k_proj.bias' not in key:  # softmax is blind to it
            assert tuned.grad.any(), key
    added = own.keys() - base.keys()
    pair = {f'attnpool.ssf.pool.{leaf}' for leaf in ('scale', 'shift')}
    assert added == (pair if 'ssf' in name else set())
    with torch.no_grad():
        assert not torch.equal(feature(net), feature(plain))


@law
def test_statistics_move_only_where_norms_learn(plain, name):
    net = train(tune(plain, TUNERS[name]))
    base = dict(plain.named_buffers())
    for key, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            moves = 'norm' in name and is_learnt(name, f'{key}.bias', plain)
            assert module.training is moves, key
            for leaf, buffer in module.named_buffers():
                same = torch.equal(buffer, base[f'{key}.{leaf}'])
                assert same is not moves, key
    net.eval()
    assert not any(m.training for m in net.modules())
    before = {key: b.clone() for key, b in net.named_buffers()}
    feature(net)
    after = dict(net.named_buffers())
    assert all(torch.equal(after[key], before[key]) for key in before)


@law
def test_disabled_is_the_base(plain, name):
    net = train(tune(plain, TUNERS[name]))
    base, plain_state = feature(plain), plain.state_dict()
    for mode in (True, False):
        net.train(mode)
        before = {key: v.clone() for key, v in net.state_dict().items()}
        modes = [m.training for m in net.modules()]
        with disabled(net):
            assert same(feature(net), base)
            inside = net.state_dict()
            assert all(
                torch.equal(inside[key], plain_state[key])
                for key in plain_state
            )
        after = net.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert [m.training for m in net.modules()] == modes


@law
def test_tuned_state(plain, name):
    """What is not frozen rebuilds the net; statistics that moved are in."""
    net = train(tune(plain, TUNERS[name]))
    net.eval()
    frozen = frozen_keys(net)
    small = {k: v for k, v in net.state_dict().items() if k not in frozen}
    moved = [key for key in small if 'running' in key]
    assert bool(moved) is ('norm' in name)
    assert len(small) - len(learned_parameters(net)) == 1.5 * len(moved)
    other = tune(plain, TUNERS[name])
    result = other.load_state_dict(small, strict=False)
    assert set(result.missing_keys) <= frozen and not result.unexpected_keys
    assert torch.equal(feature(other), feature(net))


@law
def test_copies_are_independent(plain, name):
    net = train(tune(plain, TUNERS[name]), steps=1)
    net.eval()
    expected = feature(net)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert same(feature(clone), expected)
        train(clone, steps=1)
        clone.eval()
        assert not torch.equal(feature(clone), expected)
        with disabled(clone):
            assert same(feature(clone), feature(plain))
    assert same(feature(net), expected)


@law
def test_merged_is_a_plain_net(plain, name):
    net = train(tune(plain, TUNERS[name]))
    net.eval()
    expected = feature(net)
    assert fold(net) == []
    merged = copy.deepcopy(plain)
    merged.load_state_dict(net.state_dict())  # strict
    assert relative(feature(net), expected) < 1e-5
    assert same(feature(merged), feature(net))


@pytest.mark.parametrize('name', ['ssf_bitfit', 'norm'])
def test_compile(plain, name):
    net = train(tune(plain, TUNERS[name]), steps=1)
    net.eval()
    compiled = torch.compile(net, fullgraph=True, backend='eager')
    assert torch.equal(feature(compiled), feature(net))


def test_ssf_is_one_pair_behind_the_pool(plain):
    net = tune(plain, [dict(type='SSF')])
    pair = net.attnpool.ssf.pool
    assert pair.scale.shape == pair.shift.shape == (16,)
    expected = (feature(plain) * pair.scale + pair.shift).detach()
    assert same(feature(net), expected)


def test_specs(plain):
    specs = {}
    for name, tuners in TUNERS.items():
        specs[name] = tune(plain, tuners).frozen_base.tuners
    assert specs['ssf'] == [dict(type='SSF', sites=['pool'], layers=[0])]
    everything = list(range(BLOCKS))
    whole = dict(type='BitFit', layers=everything, whole=True)
    assert specs['bitfit'] == [whole]
    whole.pop('whole')
    assert specs['bitfit_plus'] == [whole]
    assert specs['full_last'] == [dict(type='FullTuning', layers=[3, 4])]


@pytest.fixture(scope='module')
def real():
    torch.manual_seed(0)
    return clip_resnet('RN50')


@pytest.mark.parametrize(
    'tuner, number',
    [
        (dict(type='SSF'), 2_048),
        (dict(type='BitFit'), 33_792),
        (dict(type='BitFit', scope='lift+'), 26_496),
        (dict(type='NormTuning'), 53_248),
        (dict(type='FullTuning'), 38_316_896),
        (dict(type='FullTuning', scope='lift+'), 23_498_496),
    ],
    ids=str,
)
def test_published_counts(real, tuner, number):
    net = tune(real, [tuner])
    learned = learned_parameters(net).values()
    assert sum(p.numel() for p in learned) == number


@pytest.mark.parametrize(
    'kind', ['AdaptFormer', 'Adapter', 'LoRA', 'MaskedTuning', 'VPT']
)
def test_tuners_that_do_not_fit(plain, kind):
    fit = 'BitFit, FullTuning, NormTuning, SSF'
    with pytest.raises(ValueError, match=f'{kind} works on .*: {fit}') as no:
        tune(plain, [dict(type='SSF'), dict(type=kind)])
    assert 'CLIPResNet is a ResNet' in str(no.value)
    assert '`backbone.tuners`' in str(no.value)


@pytest.mark.parametrize(
    'tuner, message',
    [
        (dict(type='SSF', layers=1), 'layers=1 of SSF has no meaning'),
        (dict(type='SSF', sites='attn'), "'qkv'.*it has pool"),
        (dict(type='BitFit', layers=6), 'has 5 blocks, 0 to 4'),
        (dict(type='FullTuning', scope='all'), "scope='all'.*'lift\\+'"),
        (dict(type='NormTuning', scop='lift'), 'known: layers, scope'),
    ],
    ids=str,
)
def test_impossible_settings(plain, tuner, message):
    with pytest.raises(ValueError, match=message):
        tune(plain, [tuner])


def test_pool_site_of_a_vit():
    net = MODELS.build(dict(type='lift_mm.CLIPViT', arch=TINY_VIT))
    with pytest.raises(ValueError, match="'pool'.*it has norm1"):
        tune(net, [dict(type='SSF', sites=['pool'])])


def test_tuned_checkpoint_with_moved_statistics(tmp_path):
    path = str(tmp_path / 'clip.pt')
    torch.save(build_resnet().state_dict(), path)
    model = classifier(path, [dict(type='NormTuning')], arch=TINY)
    train(model.backbone)
    model.eval()
    frozen = frozen_keys(model)
    small = {k: v for k, v in model.state_dict().items() if k not in frozen}
    torch.save(small, tmp_path / 'tuned.pth')
    small = torch.load(tmp_path / 'tuned.pth', weights_only=True)
    other = classifier(path, [dict(type='NormTuning')], arch=TINY)
    other.load_state_dict(dict(small))  # strict: the base completes it
    with torch.no_grad():
        expected = model(images(), mode='tensor')
        assert torch.equal(other(images(), mode='tensor'), expected)
    assert not other.backbone.frozen_base.replaced
    assert frozen_keys(other) == frozen
    plus = [dict(type='NormTuning', scope='lift+')]
    plus = classifier(path, plus, arch=TINY)
    with pytest.raises(ValueError, match='made for tuners'):
        plus.load_state_dict(dict(small))


# Other ResNets

OTHERS = dict(
    mmpretrain=dict(type='mmpretrain.ResNet', depth=18),
    timm=dict(type='mmpretrain.TIMMBackbone', model_name='resnet10t'),
)


@pytest.mark.parametrize('kind', OTHERS)
def test_resnets_of_others(kind):
    net = MODELS.build(OTHERS[kind])
    net.eval()
    total = sum(p.numel() for p in net.parameters())
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    channels = sum(norm.num_features for norm in norms)
    for tuner, number in (
        ('FullTuning', total),
        ('NormTuning', 2 * channels),
        ('BitFit', channels),  # nothing else in them has a bias
    ):
        tuned = tune(net, [dict(type=tuner)])
        learned = learned_parameters(tuned).values()
        assert sum(p.numel() for p in learned) == number
        tuned.train()
        modes = {
            m.training
            for m in tuned.modules()
            if isinstance(m, nn.BatchNorm2d)
        }
        assert modes == {tuner == 'NormTuning'}
        tuned(images(32))[-1].sum().backward()
        assert all(p.grad is not None for p in learned)
    with pytest.raises(ValueError, match='SSF of a ResNet.*attnpool.c_proj'):
        tune(net, [dict(type='SSF')])


def test_no_blocks_at_all():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match='no transformer blocks.*residual'):
        tune(net, [dict(type='BitFit')])
