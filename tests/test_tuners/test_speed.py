"""What holds for every shortcut on every backbone."""

import copy
import pickle

import pytest
import torch
from parity_models import SHORTCUTS
from test_tuners.test_laws import PAIRS, TUNERS, held_tensors, learn
from test_tuners.tiny_backbones import feature, plain

from lift_mm.models.classifier import _hooks_under_recomputation
from lift_mm.registry import MODELS
from lift_mm.tuners import find_blocks, learned_parameters
from lift_mm.tuners.speed import FastMLP, slow_down, speed_up

SAME_EPS = dict(type='AdaptFormer', eps=None)


def tuned(name, tuner, **shortcuts):
    """Build a tiny backbone whose tuners have learned something."""
    tuners = [TUNERS[tuner] if isinstance(tuner, str) else tuner]
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=plain(name),
            tuners=tuners,
            num_classes=30,
            **shortcuts,
        )
    )
    learn(net)
    net.train()
    return net


def gradients(net, out=None):
    """Give gradients of what learns, for one fixed sum of features."""
    out = feature(net) if out is None else out
    generator = torch.Generator().manual_seed(5)
    grad = torch.randn(out.shape, generator=generator)
    net.zero_grad()
    out.backward(grad)
    return {k: p.grad.clone() for k, p in learned_parameters(net).items()}


def check_same(net, other):
    out, expected = feature(net), feature(other)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    ours, theirs = gradients(net, out), gradients(other, expected)
    for key, grad in theirs.items():
        bound = 1e-5 * float(grad.norm())
        torch.testing.assert_close(ours[key], grad, rtol=1e-4, atol=bound)


# AdaptFormer everywhere, the others where hooks sit in different places.
FEW = ('CLIPViT', 'SwinTransformer', 'TIMMBackbone')
ALL = [
    (name, tuner, key)
    for name, tuner in PAIRS
    for key in SHORTCUTS
    if key != 'plain'
    and tuner == 'adaptformer'
    or key in ('recompute_mlp', 'recompute_block')
    and name in FEW
]


@pytest.mark.parametrize('name, tuner, key', ALL)
def test_features_and_gradients_stay(name, tuner, key):
    net = tuned(name, tuner, **SHORTCUTS[key])
    check_same(net, tuned(name, tuner, fast=False))
    assert not held_tensors(net)  # of the second pass, either


FUSED = (
    'CLIPViT',
    'VisionTransformer',
    'DistilledVisionTransformer',
    'SwinTransformer',
    'TIMMBackbone',
)


def fused(net):
    """Count the blocks whose MLP and AdaptFormer are one function."""
    return sum(
        isinstance(s, FastMLP) and s.norm.forward == s.let_through
        for s in net.frozen_base.shortcuts
    )


@pytest.mark.parametrize('name', FUSED)
@pytest.mark.parametrize('recompute', [None, 'mlp', 'block'])
def test_one_function_where_it_is_exact(name, recompute):
    net = tuned(name, SAME_EPS, recompute=recompute)
    assert fused(net) == 3
    check_same(net, tuned(name, SAME_EPS, fast=False))
    # Really: the modules inside are not called.
    for block in find_blocks(net):
        block.sites['fc1'].weight.data.fill_(torch.nan)
        block.sites['fc1'].forward = None
    assert feature(net).isnan().any()


@pytest.mark.parametrize(
    'name, tuner',
    [
        ('VisionTransformer', 'adaptformer'),  # eps 1e-5 beside 1e-6
        ('BEiTViT', SAME_EPS),  # its blocks scale what the MLP gives
        ('ViTEVA02', SAME_EPS),  # a gated MLP
        ('FreeNet', SAME_EPS),  # who knows
        ('CLIPViT', 'lora'),  # no AdaptFormer
    ],
)
def test_modules_where_it_is_not(name, tuner):
    assert fused(tuned(name, tuner)) == 0


@pytest.mark.parametrize('what', ['hook', 'pre_hook', 'learns', 'norm_hook'])
def test_somebody_between_the_layers(what):
    """Hooks see what they would, and base weights that learn get theirs."""
    net, other = tuned('CLIPViT', SAME_EPS), tuned('CLIPViT', SAME_EPS)
    slow_down(other)
    seen = []
    for each in (net, other):
        sites = find_blocks(each)[1].sites
        if what == 'hook':
            sites['fc1'].register_forward_hook(
                lambda module, args, out: seen.append(out.detach())
            )
        elif what == 'pre_hook':
            sites['fc2'].register_forward_pre_hook(
                lambda module, args: seen.append(args[0].detach())
            )
        elif what == 'norm_hook':
            sites['norm2'].register_forward_hook(
                lambda module, args, out: seen.append(out.detach())
            )
        else:
            sites['fc1'].weight.requires_grad_()
    check_same(net, other)
    for ours, theirs in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(seen) == (0 if what == 'learns' else 2)


@pytest.mark.parametrize('key', SHORTCUTS)
def test_taken_out_again(key):
    net = tuned('CLIPViT', SAME_EPS, **SHORTCUTS[key])
    expected = feature(net)
    slow_down(net)
    bare = tuned('CLIPViT', SAME_EPS, fast=False)
    for (name, module), (_, same) in zip(
        net.named_modules(), bare.named_modules(), strict=True
    ):
        assert type(module) is type(same)
        assert 'forward' not in vars(module), name
        assert len(module._forward_hooks) == len(same._forward_hooks), name
    torch.testing.assert_close(feature(net), expected)
    speed_up(net, **SHORTCUTS[key])
    speed_up(net, **SHORTCUTS[key])  # twice is once
    assert torch.equal(feature(net), expected)
    slow_down(net)
    assert not net.frozen_base.shortcuts


@pytest.mark.parametrize('key', SHORTCUTS)
@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_copies_compute_with_their_own_weights(key, copied):
    net = tuned('CLIPViT', SAME_EPS, **SHORTCUTS[key])
    expected = gradients(net)
    clone = copied(net)
    for name, grad in gradients(clone).items():
        assert torch.equal(grad, expected[name])
    learn(clone, seed=3)
    for name, grad in gradients(net).items():
        assert torch.equal(grad, expected[name])


@pytest.mark.parametrize('key', SHORTCUTS)
@pytest.mark.parametrize('name', ['CLIPViT', 'TIMMBackbone'])
@pytest.mark.usefixtures('compiler')
def test_compile(name, key):
    torch.compiler.reset()
    net = tuned(name, SAME_EPS, **SHORTCUTS[key])
    expected = gradients(net)
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    with _hooks_under_recomputation():
        out = feature(compiled)
    for name, grad in gradients(net, out).items():
        torch.testing.assert_close(grad, expected[name])


def saved_bytes(net):
    sizes = {}
    own = {t.untyped_storage().data_ptr() for t in net.state_dict().values()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        feature(net)
    return sum(sizes.values())


def test_less_is_kept():
    kept = {
        key: saved_bytes(tuned('CLIPViT', SAME_EPS, **SHORTCUTS[key]))
        for key in SHORTCUTS
    }
    assert kept['fast'] < min(kept['no_mlp'], kept['plain'])
    assert kept['recompute_mlp'] < kept['fast']
    assert kept['recompute_block'] < kept['recompute_mlp']


@pytest.mark.parametrize('tuner', ['AdaptFormer', 'LoRA', 'SSF', 'Adapter'])
def test_no_graph_below_the_first_tuned_block(tuner):
    """Two frozen blocks in front cost nothing."""
    last = dict(type=tuner, layers=1)
    whole = saved_bytes(tuned('CLIPViT', dict(type=tuner)))
    assert saved_bytes(tuned('CLIPViT', last)) < 0.4 * whole
    net = tuned('CLIPViT', last)
    graphs = []
    net.layers[2].register_forward_pre_hook(
        lambda module, args: graphs.append(args[0].requires_grad)
    )
    feature(net)
    assert graphs == [False]


def test_linear_probe_keeps_nothing():
    net = MODELS.build(
        dict(type='lift_mm.TunedBackbone', backbone=plain('CLIPViT'))
    )
    assert saved_bytes(net) == 0
    assert not feature(net).requires_grad


@pytest.mark.parametrize(
    'key, value, words',
    [
        ('fast', 'all', 'activation, mlp'),
        ('fast', dict(attention=True), 'activation, mlp'),
        ('recompute', 'layer', "'mlp', 'block'"),
        ('recompute', True, "'mlp', 'block'"),
        ('frozen_dtype', 'int8', "'bfloat16', 'float16'"),
    ],
)
def test_mistakes(key, value, words):
    with pytest.raises(ValueError, match=f'backbone.{key}') as error:
        tuned('CLIPViT', SAME_EPS, **{key: value})
    assert words in str(error.value)


@pytest.mark.parametrize(
    'name, tuner', [pair for pair in PAIRS if pair[0] in FEW]
)
def test_frozen_weights_in_half_precision(name, tuner):
    """Within 5 % of fp32, as under autocast; what learns stays fp32."""
    net = tuned(name, tuner, frozen_dtype='bfloat16')
    other = tuned(name, tuner, fast=False)
    learned = learned_parameters(net)
    for key, parameter in net.named_parameters():
        half = parameter.dtype == torch.bfloat16
        assert not (half and key in learned), key
    blocks = find_blocks(net)
    frozen = [b.sites[s].weight for b in blocks for s in ('fc1', 'fc2')]
    assert all(
        w.dtype == torch.bfloat16 for w in frozen if not w.requires_grad
    )
    out, expected = feature(net), feature(other)
    assert out.dtype == torch.float32
    assert (out - expected).norm() < 0.05 * expected.norm()
    for key, grad in gradients(net, out).items():
        assert grad.dtype == torch.float32, key
    # The base is still that of the weights it was built from.
    assert net.frozen_base.fingerprint == other.frozen_base.fingerprint
    net.frozen_base.notice(plain(name).state_dict())
    assert not net.frozen_base.replaced
