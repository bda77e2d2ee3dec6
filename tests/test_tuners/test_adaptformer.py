"""AdaptFormer: formula, sizes, draws; and what tuners refuse."""

import functools

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from test_tuners.tiny_backbones import CONFIGS, images, plain, tuned
from torch.utils.checkpoint import checkpoint

from lift_mm.tuners import (
    AdaptFormer,
    attach_tuners,
    find_blocks,
    freeze,
    learned_parameters,
)
from lift_mm.tuners.adaptformer import AdaptFormerBranch
from lift_mm.tuners.settings import pow2_floor

NET = 'VisionTransformer'


def test_gradient_against_a_formula():
    """One block, written down independently in float64."""
    block = tuned(NET, dict(type='AdaptFormer', hidden_dims=5)).layers[1]
    base = plain(NET).layers[1].double()
    block.double()
    branch = block.adaptformer
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 17, 32, dtype=torch.float64)
    out = block(x)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()

    p = {
        name: value.detach().clone().requires_grad_()
        for name, value in branch.named_parameters()
    }
    h = x + base.attn(base.ln1(x))
    z = (h - h.mean(-1, keepdim=True)) / (
        h.var(-1, keepdim=True, unbiased=False) + 1e-5
    ).sqrt()
    z = z * p['norm.weight'] + p['norm.bias']
    z = (z @ p['down.weight'].T + p['down.bias']).clamp(min=0)
    z = p['scale'] * (z @ p['up.weight'].T + p['up.bias'])
    expected = base.ffn(base.ln2(h), identity=h) + z
    torch.testing.assert_close(out, expected)
    (expected * weight).sum().backward()
    assert len(p) == 7
    for name, parameter in branch.named_parameters():
        torch.testing.assert_close(parameter.grad, p[name].grad)


@pytest.mark.parametrize('init', ['lift', 'lift+'])
def test_draws(init):
    """Deviation 0.020833 for D = 768 (SPEC T5); everything else neutral."""
    torch.manual_seed(0)
    branch = AdaptFormerBranch(768, 256, init)
    down = branch.down.weight
    assert down.std().item() == pytest.approx(0.020833, rel=0.01)
    assert abs(down.mean().item()) < 2e-4
    bound = 768**-0.5  # of the uniform draw
    assert (down.abs().max().item() > bound) is (init == 'lift')
    if init == 'lift+':
        assert down.abs().max().item() == pytest.approx(bound, rel=1e-3)
    for zero in (branch.down.bias, branch.up.weight, branch.up.bias):
        assert not zero.any()
    assert branch.norm.eps == 1e-5
    assert branch.norm.weight.eq(1).all() and not branch.norm.bias.any()
    assert branch.scale.tolist() == [1.0]


@pytest.mark.parametrize(
    'settings, classes, width',
    [
        (dict(), 100, 16),  # 100 / (2 * 3) = 16.7
        (dict(), 96, 16),
        (dict(), 95, 8),
        (dict(layers=1), 100, 16),
        (dict(layers=1, sizing='lift+'), 100, 32),
        (dict(layers=[0, 1], sizing='lift+'), 100, 16),
        (dict(), 2, 1),
        (dict(hidden_dims=5), 100, 5),
        (dict(hidden_dims=5), None, 5),
    ],
)
def test_sizes(settings, classes, width):
    net = tuned(NET, dict(type='AdaptFormer', **settings), num_classes=classes)
    branches = [m for m in net.modules() if isinstance(m, AdaptFormerBranch)]
    assert {branch.down.out_features for branch in branches} == {width}
    (spec,) = net.frozen_base.tuners
    assert spec['type'] == 'AdaptFormer' and spec['hidden_dims'] == width
    assert len(spec['layers']) == len(branches)


@pytest.mark.parametrize(
    'value, power', [(0.1, 1), (1, 1), (2, 2), (3.99, 2), (4, 4), (1000, 512)]
)
def test_pow2_floor(value, power):
    assert pow2_floor(value) == power


@pytest.mark.parametrize(
    'layers, chosen',
    [
        (None, [0, 1, 2]),
        (1, [2]),
        (2, [1, 2]),
        (3, [0, 1, 2]),
        ([0], [0]),
        ((2, 0), [0, 2]),
    ],
)
@pytest.mark.parametrize('name', [NET, 'SwinTransformer', 'TIMMBackbone'])
def test_chosen_layers(name, layers, chosen):
    net = tuned(name, dict(type='AdaptFormer', layers=layers))
    found = [hasattr(b.module, 'adaptformer') for b in find_blocks(net)]
    assert found == [index in chosen for index in range(3)]
    assert net.frozen_base.tuners[0]['layers'] == chosen


@pytest.mark.parametrize('name', CONFIGS)
def test_blocks_of_every_net(name):
    """In the order in which they run, each with its own width."""
    net, order = plain(name), []
    blocks = find_blocks(net)
    for block in blocks:

        def seen(module, args, out, block=block):
            order.append((block.module, out.shape[-1]))

        block.module.register_forward_hook(seen)
    net(images())
    assert order == [(block.module, block.dims) for block in blocks]
    assert len(order) == 3


# Refusals


@pytest.mark.parametrize(
    'tuner, message',
    [
        (
            dict(type='AdaptFromer'),
            r"tuners\[0\]\.type='AdaptFromer'.*did you mean AdaptFormer\?",
        ),
        (dict(type='Prefix'), r"'Prefix' is not a tuner; known: Ad"),
        (dict(layers=1), r"tuners\[0\]\.type='None' is not a tuner"),
        (
            dict(type='AdaptFormer', bottleneck=8),
            r'tuners\[0\]\.bottleneck is no .*known: hidden_dims, layers',
        ),
        (dict(type='AdaptFormer', init='kaiming'), "init='kaiming'.*'lift'"),
        (dict(type='AdaptFormer', sizing=1), "sizing=1 .*'lift'"),
        (dict(type='AdaptFormer', hidden_dims=0), 'hidden_dims=0 .*least 1'),
        (dict(type='AdaptFormer', hidden_dims='8'), "hidden_dims='8' .*an in"),
        (dict(type='AdaptFormer', hidden_dims=4.5), 'hidden_dims=4.5 .*an in'),
        ('AdaptFormer', r"tuners\[0\]='AdaptFormer' must be a dict"),
        (dict(type='LoRA', targets=[]), r"targets=\[\] .*'q', 'k'"),
        (dict(type='LoRA', targets=None), "targets=None .*'q', 'k'"),
        (dict(type='LoRA', rank=1, targets=['q', 'q']), 'names one twice'),
        (dict(type='SSF', sites=3), "sites=3 .*'attn', 'mlp'"),
        (dict(type='SSF', sites=['mlp', 'mlp']), 'names one twice'),
        (dict(type='MaskedTuning', ratio='0.1'), "ratio='0.1' .*a number"),
        (dict(type='MaskedTuning', ratio=1e-9), 'ratio=1e-09 .*than one en'),
    ],
    ids=str,
)
def test_wrong_settings(tuner, message):
    with pytest.raises(ValueError, match=message):
        tuned(NET, tuner)


@pytest.mark.parametrize('tuners', [dict(type='BitFit'), 'BitFit', None, 3])
def test_tuners_are_a_list(tuners):
    config = dict(type='lift_mm.TunedBackbone', tuners=tuners)
    with pytest.raises(ValueError, match='must be a list'):
        MODELS.build(dict(config, backbone=CONFIGS[NET]))


@pytest.mark.parametrize('layers', [0, 4, -1, [3], [-1], [], [0, 0]], ids=str)
def test_layers_that_do_not_exist(layers):
    with pytest.raises(ValueError, match='3 blocks, 0 to 2') as refusal:
        tuned(NET, dict(type='AdaptFormer', layers=layers))
    text = str(refusal.value)
    assert f'layers={layers!r}' in text and '`backbone.tuners`' in text


@pytest.mark.parametrize('layers', [True, 'all', 1.5, [0.0], [True], {0}])
def test_layers_of_another_type(layers):
    with pytest.raises(TypeError, match='None, an int .* or a list'):
        tuned(NET, dict(type='AdaptFormer', layers=layers))


def test_type_given_as_a_class():
    net = tuned(NET, dict(type=AdaptFormer, hidden_dims=5))
    assert net.layers[0].adaptformer.down.out_features == 5


def test_one_tuner_for_two_nets():
    tuner = AdaptFormer()
    for classes, width in ((30, 4), (100, 16)):
        net = tuned(NET, tuner, num_classes=classes)
        assert net.layers[0].adaptformer.down.out_features == width


def test_unknown_number_of_classes():
    with pytest.raises(ValueError, match='`backbone.num_classes`'):
        tuned(NET, dict(type='AdaptFormer'), num_classes=None)


def test_same_tuner_twice():
    one = dict(type='AdaptFormer', layers=[0, 1])
    with pytest.raises(ValueError, match="already has a 'adaptformer'"):
        tuned(NET, one, dict(one, layers=[1, 2]))
    net = tuned(NET, one, dict(one, layers=[2], hidden_dims=3))
    widths = [layer.adaptformer.down.out_features for layer in net.layers]
    assert widths == [4, 4, 3]


UNFIT = dict(
    ResNet=(dict(depth=18), 'no transformer blocks.*BitFit'),
    DeiT3=({**CONFIGS[NET]}, 'ln1 twice and never ln2'),
    RevVisionTransformer=({**CONFIGS[NET]}, 'wrong gradients'),
    MViT=(
        dict(
            arch=dict(
                embed_dims=16,
                num_layers=2,
                num_heads=1,
                downscale_indices=[1],
            )
        ),
        'change the width',
    ),
)


@pytest.mark.parametrize('kind', UNFIT)
def test_nets_that_cannot_be_tuned(kind):
    config, message = UNFIT[kind]
    config = {**config, 'type': kind}
    for key in ('drop_rate', 'drop_path_rate'):
        config.pop(key, None)
    backbone = dict(type='lift_mm.TunedBackbone', backbone=config)
    tuners = [dict(type='AdaptFormer', hidden_dims=2)]
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(backbone, tuners=tuners))
    net = MODELS.build(backbone)  # linear probing
    assert not any(p.requires_grad for p in net.parameters())
    assert net.frozen_base.tuners == []


def test_recomputed_activations_are_refused():
    config = dict(CONFIGS['SwinTransformer'], with_cp=True)
    with pytest.raises(ValueError, match='with_cp=True.*wrong gradients'):
        MODELS.build(dict(type='lift_mm.TunedBackbone', backbone=config))


def block_gradients(reentrant=None):
    net = tuned(NET, dict(type='AdaptFormer'))
    with torch.no_grad():
        for number, parameter in enumerate(learned_parameters(net).values()):
            generator = torch.Generator().manual_seed(number)
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
    for block in net.layers:
        forward = block.forward
        if reentrant is not None:
            block.forward = functools.partial(
                checkpoint, forward, use_reentrant=reentrant
            )
    net(images())[0].square().sum().backward()
    return {key: p.grad for key, p in learned_parameters(net).items()}


def test_checkpointed_blocks():
    expected = block_gradients()
    with pytest.raises(ValueError, match='`activation_checkpointing`'):
        block_gradients(reentrant=True)
    for key, grad in block_gradients(reentrant=False).items():
        torch.testing.assert_close(grad, expected[key])


def test_without_registries():
    """The same in plain torch, for nets that no config builds."""
    net = plain('FreeNet')
    freeze(net, 'mine')
    (spec,) = attach_tuners(net, [dict(type='lift_mm.AdaptFormer')], 30)
    assert spec == dict(type='AdaptFormer', hidden_dims=4, layers=[0, 1, 2])
    z = F.layer_norm(torch.randn(1, 5, 32), (32,))
    assert not net.blocks[0].adaptformer(z).any()
