"""Merged equals unmerged, for every tuner, alone and stacked."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from test_tuners.tiny_backbones import (
    CONFIGS,
    NAMES,
    feature,
    images,
    plain,
    tuned,
)
from torch import nn

from lift_mm import apis
from lift_mm.registry import TUNERS
from lift_mm.tuners import (
    FrozenBase,
    Tuner,
    TunerModule,
    disabled,
    learned_parameters,
)
from lift_mm.tuners.fuse import SplitActivation

ALL = ['q', 'k', 'v', 'out', 'fc1', 'fc2']
T = dict(
    adaptformer=dict(type='AdaptFormer'),
    adaptformer_last=dict(type='AdaptFormer', layers=2, hidden_dims=3),
    adapter=dict(type='Adapter'),
    adapter_first=dict(type='Adapter', layers=[0]),
    lora=dict(type='LoRA'),
    lora_all=dict(type='LoRA', rank=3, targets=ALL, layers=[0, 2]),
    ssf=dict(type='SSF', sites=['attn', 'mlp', 'norm']),
    ssf_norm=dict(type='SSF', sites=['norm'], layers=1),
    ssf_mlp=dict(type='SSF', sites=['norm', 'mlp']),
    lora_rest=dict(type='LoRA', rank=2, targets=['out', 'fc1', 'fc2']),
    masked=dict(type='MaskedTuning', ratio=0.2),
    masked_plus=dict(type='MaskedTuning', ratio=0.2, draw='lift+'),
    bitfit=dict(type='BitFit'),
    norm=dict(type='NormTuning'),
    full=dict(type='FullTuning', layers=1),
    vpt=dict(type='VPT', length=2, init='lift+'),
    shallow=dict(type='VPT', length=2, init='lift+', deep=False),
)
STACKS = [
    *T,
    'lora_all ssf',
    'adaptformer lora ssf',
    'ssf masked lora_all bitfit adaptformer',
    'adaptformer_last norm ssf_norm',
    'full masked_plus lora',
    'adapter lora_all ssf masked',
    'adapter_first adaptformer lora',
    'adaptformer vpt ssf',
    'adaptformer shallow',
    'ssf_mlp lora_rest adaptformer_last bitfit',
]
STAY = {'adapter': 'Adapter', 'adapter_first': 'Adapter'}
STAY |= {'vpt': 'VPT', 'shallow': 'VPT'}


def fits(name, key):
    """Say whether a tuner takes a backbone; docs list what it refuses."""
    try:
        return tuned(name, T[key]) is not None
    except ValueError:
        return False


FIT = {(name, key) for name in NAMES for key in T if fits(name, key)}
PAIRS = [
    (name, stack)
    for name in NAMES
    for stack in STACKS
    if all((name, key) in FIT for key in stack.split())
]


def trained(name, stack, double=False):
    """Give a backbone with tuners somewhere on their way."""
    net = tuned(name, *[T[key] for key in stack.split()])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
    return net.double() if double else net


@torch.no_grad()
def distance(net, other):
    x = images().to(next(net.parameters()).dtype)
    expected = feature(net, x)
    return float((feature(other, x) - expected).norm() / expected.norm())


def tuner_modules(net):
    return [m for m in net.modules() if isinstance(m, TunerModule)]


def test_everything_fits_the_plain_vit():
    assert {('CLIPViT', stack) for stack in STACKS} <= set(PAIRS)


@pytest.mark.parametrize('name, stack', PAIRS)
def test_merged_equals_unmerged(name, stack):
    for double, limit in ((True, 1e-14), (False, 1e-5)):
        net = trained(name, stack, double)
        before = copy.deepcopy(net.state_dict())
        merged = apis.merge(net)
        assert distance(net, merged) < limit
        merged.train()  # nothing drops, as in the frozen net
        has_statistics = name == 'FreeNet'
        assert has_statistics or distance(net, merged) < limit
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    check_what_is_left(name, stack, net, merged)


def check_what_is_left(name, stack, net, merged):
    expected = {STAY[key] for key in stack.split() if key in STAY}
    left = {sentence.split()[0] for sentence in merged.unmerged}
    assert expected <= left <= expected | {'AdaptFormer'}
    if name == 'CLIPViT' and 'adapter' not in stack:
        assert left == expected
    assert bool(tuner_modules(merged)) == bool(left)
    learned = learned_parameters(merged)
    inside = {id(p) for m in tuner_modules(merged) for p in m.parameters()}
    assert {id(p) for p in learned.values()} == inside
    if left:
        guard = merged.frozen_base
        assert {t['type'] for t in guard.tuners} == left
        assert set(guard.keys) == merged.state_dict().keys() - learned.keys()
        assert guard.replaced
        clone = copy.deepcopy(merged)
        assert distance(merged, clone) == 0
        with pytest.raises(ValueError, match='backbone.tuners'):
            apis.merge(net, strict=True)
    else:
        assert not any(isinstance(m, FrozenBase) for m in merged.modules())
        apis.merge(net, strict=True)
        if 'adaptformer' not in stack:  # a plain checkpoint of a plain net
            result = plain(name).load_state_dict(merged.state_dict(), False)
            assert not result.unexpected_keys


def test_merging_twice_changes_nothing():
    net = trained('CLIPViT', 'adaptformer adapter_first lora ssf')
    once = apis.merge(net)
    twice = apis.merge(once)
    assert once.unmerged == twice.unmerged
    assert distance(once, twice) == 0


def test_half_precision_keeps_its_type():
    net = trained('CLIPViT', 'adaptformer lora ssf').bfloat16()
    merged = apis.merge(net)
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    assert distance(net, merged) < 0.05


def test_disabled_tuners_vanish():
    stack = 'adaptformer adapter lora ssf masked bitfit vpt'
    net = trained('CLIPViT', stack)
    with disabled(net):
        merged = apis.merge(net)
    assert merged.unmerged == [] and not tuner_modules(merged)
    assert distance(plain('CLIPViT'), merged) == 0


@pytest.mark.parametrize('kind', ['SSF', 'BitFit', 'NormTuning'])
def test_resnet(kind):
    vision = dict(image_size=32, layers=[1, 1, 1, 1], width=8)
    arch = dict(embed_dim=16, vision_cfg=vision, text_cfg={})
    config = dict(
        type='lift_mm.TunedBackbone',
        backbone=dict(type='lift_mm.CLIPResNet', arch=arch),
        tuners=[dict(type=kind)],
    )
    net = MODELS.build(config)
    net.eval()
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            parameter.add_(0.1 * torch.randn_like(parameter))
        merged = apis.merge(net, strict=True)
        x = torch.randn(2, 3, 32, 32)
        expected, found = feature(net, x), feature(merged, x)
    assert (found - expected).norm() < 1e-5 * expected.norm()
    plain = MODELS.build(config['backbone']).state_dict()
    assert merged.state_dict().keys() == plain.keys()


def wider(net):
    return [m.tail for m in net.modules() if isinstance(m, SplitActivation)]


def test_adaptformer_of_some_layers():
    net = trained('CLIPViT', 'adaptformer_last')
    merged = apis.merge(net)
    assert wider(merged) == [3, 3]
    widths = [m.ffn.layers[0][0].out_features for m in merged.layers]
    assert widths == [128, 131, 131]
    assert merged.layers[1].ffn.feedforward_channels == 131
    norm = merged.layers[1].ln2
    assert bool((norm.weight == 1).all()) and not norm.bias.any()


def test_tuned_merged_and_tuned_again():
    first = apis.merge(trained('CLIPViT', 'adaptformer_last lora'))
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=first,
            tuners=[dict(type='AdaptFormer', hidden_dims=2), T['ssf']],
        )
    ).double()
    net.eval()
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    merged = apis.merge(net, strict=True)
    assert wider(merged) == [2, 5, 5]
    assert distance(net, merged) < 1e-14


def test_relu_needs_no_split():
    config = copy.deepcopy(CONFIGS['VisionTransformer'])
    config.update(
        norm_cfg=dict(type='LN', eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type='ReLU')),
    )
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=config,
            tuners=[T['adaptformer_last']],
        )
    ).double()
    net.eval()
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    merged = apis.merge(net)
    assert merged.unmerged == [] and wider(merged) == []
    assert distance(net, merged) < 1e-14


@pytest.mark.parametrize(
    'change, reason',
    [
        (dict(), 'eps 1e-05'),
        (dict(layer_scale_init_value=0.1), 'scales what comes out'),
        (dict(layer_cfgs=dict(num_fcs=3)), 'not a plain MLP'),
        (dict(layer_cfgs=dict(ffn_type='swiglu_fused')), 'not a plain MLP'),
    ],
)
def test_why_adaptformer_stays(change, reason):
    config = copy.deepcopy(CONFIGS['VisionTransformer'])
    config.update(change)
    if change:
        config.update(norm_cfg=dict(type='LN', eps=1e-5))
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=config,
            tuners=[T['adaptformer_last']],
        )
    )
    net.eval()
    merged = apis.merge(net)
    (sentence,) = merged.unmerged
    assert sentence.startswith('AdaptFormer stays in layers.1 to layers.2')
    assert reason in sentence
    with pytest.raises(ValueError, match=reason):
        apis.merge(net, strict=True)
    assert distance(net, merged) == 0


def test_eps_of_the_block_lets_it_merge():
    """mmpretrain's ViTs have 1e-6, the published branch 1e-5."""
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=copy.deepcopy(CONFIGS['VisionTransformer']),
            tuners=[dict(type='AdaptFormer', hidden_dims=5, eps=None)],
        )
    ).double()
    net.eval()
    assert net.layers[0].adaptformer.norm.eps == 1e-6
    assert net.frozen_base.tuners[0]['eps'] is None
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    merged = apis.merge(net, strict=True)
    assert distance(net, merged) < 1e-13


def test_linear_layers_without_bias():
    config = copy.deepcopy(CONFIGS['VisionTransformer'])
    config.update(qkv_bias=False, norm_cfg=dict(type='LN', eps=1e-5))
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=config,
            tuners=[T['ssf'], T['lora_all'], T['adaptformer_last']],
        )
    ).double()
    net.eval()
    merged = apis.merge(net, strict=True)
    assert distance(net, merged) < 1e-14
    assert merged.layers[0].attn.qkv.bias is not None


class _Square(TunerModule):
    """A tuner of somebody's own that cannot be folded."""

    def apply_to(self, module, args, out):
        return out + 0.1 * out**2 if self.enabled else out


def test_what_works_behind_something_that_stays():
    @TUNERS.register_module(force=True)
    class Square(Tuner):
        order = 2.5  # between LoRA and SSF

        def attach(self, net, blocks, num_classes):
            module = _Square()
            blocks[1].add('square', module, self)
            blocks[1].need('fc1', self).register_forward_hook(module.apply_to)

    try:
        net = tuned(
            'CLIPViT',
            dict(type='Square'),
            *[T[k] for k in ('lora_all', 'ssf', 'adaptformer_last')],
        ).double()
        net.eval()
        merged = apis.merge(net)
        assert distance(net, merged) < 1e-14
        text = '\n'.join(merged.unmerged)
        assert 'Square stays in layers.1 (1x): it has no way' in text
        assert 'SSF stays in layers.1.ssf (1x): it works on what' in text
        assert 'AdaptFormer stays in layers.1 (1x): Square stays' in text
        assert len(merged.unmerged) == 3
    finally:
        TUNERS.module_dict.pop('Square')


@pytest.mark.parametrize('act', [nn.GELU(), nn.SiLU(), nn.ReLU(inplace=True)])
def test_split_activation(act):
    module = SplitActivation(act, 3).double()
    x = torch.randn(2, 5, 10, dtype=torch.float64)
    expected = torch.cat([act(x[..., :7].clone()), x[..., 7:].relu()], -1)
    with torch.no_grad():
        torch.testing.assert_close(module(x.clone()), expected)
    torch.testing.assert_close(module(x.clone()), expected)
    x.requires_grad_()
    if not getattr(act, 'inplace', False):
        assert torch.autograd.gradcheck(module, x)


@pytest.mark.parametrize('grad', [True, False])
@pytest.mark.usefixtures('compiler')
def test_merged_compiles(grad):
    merged = apis.merge(trained('CLIPViT', 'adaptformer lora'))
    with torch.set_grad_enabled(grad):
        expected = feature(merged)
        compiled = torch.compile(merged, fullgraph=True, backend='eager')
        assert torch.equal(feature(compiled), expected)


def test_split_act_in_a_config():
    config = dict(type='lift_mm.SplitAct', tail=4)
    inner = dict(type='mmpretrain.QuickGELU')
    act = MODELS.build(dict(config, act_cfg=inner))
    assert isinstance(act, SplitActivation) and act.tail == 4
    assert isinstance(MODELS.build(config).act, nn.GELU)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match='act_cfg.tail'):
            MODELS.build(dict(config, tail=wrong))
