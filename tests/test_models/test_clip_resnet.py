"""``CLIPResNet`` against open_clip's towers, and what tunes it."""

import copy
import pickle

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from open_clip.modified_resnet import ModifiedResNet
from parity_models import relative
from test_models.test_clip_vit import (
    TEXT,
    build_clip,
    save_openai,
    save_openai_state_dict,
    save_safetensors,
    save_state_dict,
    save_trainer,
)
from torch import nn

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, resnet_config
from lift_mm.registry import MODELS
from lift_mm.tuners import disabled, frozen_keys, learned_parameters

TINY_VIT = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=16, layers=1, width=64, patch_size=8),
    text_cfg=TEXT,
)
TINY = dict(
    embed_dim=16,
    vision_cfg=dict(
        image_size=64, layers=[1, 2, 1, 1], width=8, patch_size=None
    ),
    text_cfg=TEXT,
)
BLOCKS = 5
RESNETS = [name for name in open_clip.list_models() if name.startswith('RN')]


def build_resnet(config=TINY):
    """Give open_clip's own model, no tensor at a neutral value."""
    model = build_clip(config)
    model.visual.train()
    with torch.no_grad():
        for _ in range(20):  # statistics that keep its units alive
            model.visual(images(config['vision_cfg']['image_size'], 8))
        for buffer in model.visual.buffers():
            buffer.copy_(buffer.half())
    return model.eval()


def clip_resnet(arch=TINY, pretrained=None, **settings):
    config = dict(type='lift_mm.CLIPResNet', arch=arch, **settings)
    net = MODELS.build(dict(config, pretrained=pretrained and str(pretrained)))
    net.eval()
    return net


def images(side=64, number=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, 3, side, side, generator=generator)


@torch.no_grad()
def feature(net, side=64):
    (out,) = net(images(side))
    return out


@pytest.fixture(scope='module')
def tiny():
    return build_resnet()


@pytest.fixture(scope='module')
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('resnet') / 'tiny.pt'
    torch.save(tiny.state_dict(), path)
    return str(path)


# The net


def test_is_a_backbone_with_the_keys_of_clip(tiny, tiny_file):
    net = clip_resnet(TINY, tiny_file)
    assert isinstance(net, BaseBackbone)
    own, theirs = net.state_dict(), tiny.visual.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    net.init_weights()  # as a runner does
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    with torch.no_grad():
        assert relative(feature(net), tiny.visual(images())) < 1e-5


@pytest.mark.parametrize(
    'save, ending',
    [
        (save_state_dict, '.pt'),
        (save_trainer, '.pt'),
        (save_safetensors, '.safetensors'),
        (save_openai, '.pt'),
        (save_openai_state_dict, '.pt'),
    ],
)
def test_formats(tiny, tiny_file, tmp_path, save, ending):
    path = tmp_path / f'weights{ending}'
    save(tiny, path)
    net = clip_resnet(TINY, path)
    expected = feature(clip_resnet(TINY, tiny_file))
    assert torch.equal(feature(net), expected)
    assert net.bn1.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_own_checkpoints(tiny_file, tmp_path, prefix):
    net = clip_resnet(TINY, tiny_file)
    state = {prefix + key: v for key, v in net.state_dict().items()}
    state.pop(prefix + 'bn1.num_batches_tracked')  # files of old torch
    if prefix:
        state['head.fc.weight'] = torch.zeros(2, 16)
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'mm.pth')
    again = clip_resnet(TINY, tmp_path / 'mm.pth')
    assert torch.equal(feature(again), feature(net))


@pytest.mark.parametrize('name', RESNETS)
def test_shapes_of_every_published_resnet(name):
    vision = resnet_config(model_config(name))
    with torch.device('meta'):
        net = clip_resnet(name)
        other = ModifiedResNet(
            layers=vision['layers'],
            output_dim=model_config(name)['embed_dim'],
            heads=vision['width'] * 32 // 64,
            image_size=vision['image_size'],
            width=vision['width'],
        )
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    assert shapes == {k: v.shape for k, v in other.state_dict().items()}
    assert net.attnpool.heads == other.attnpool.num_heads
    total = sum(p.numel() for p in net.parameters())
    assert total == {'RN50': 38_316_896, 'RN101': 56_259_936}.get(name, total)


@pytest.mark.parametrize('side', [32, 96, 128])
def test_other_image_size(tiny, tiny_file, side):
    net = clip_resnet(TINY, tiny_file, img_size=side)
    grid = side // 32
    other = copy.deepcopy(tiny.visual)
    stored = other.attnpool.positional_embedding.data
    token, cells = stored[:1], stored[1:]
    cells = cells.T.reshape(1, -1, 2, 2)
    cells = F.interpolate(cells, (grid, grid), mode='bicubic', antialias=True)
    cells = cells.reshape(-1, grid * grid).T
    other.attnpool.positional_embedding.data = torch.cat([token, cells])
    with torch.no_grad():
        expected = other(images(side))
    assert relative(feature(net, side), expected) < 1e-5
    with pytest.raises(ValueError, match='`backbone.img_size`'):
        feature(net, side + 32)


def test_random_weights():
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(feature(clip_resnet()))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])
    assert nets[0].isfinite().all() and nets[0].std() > 0.01


# Refusals of configs and weights


@pytest.mark.parametrize('side', [0, -32, 100, 64.0, '64'])
def test_impossible_image_size(side):
    with pytest.raises(ValueError, match=r'img_size=.*`backbone.img_size`'):
        clip_resnet(TINY, img_size=side)


@pytest.mark.parametrize(
    'change, field',
    [
        (dict(layers=12), r'layers=12 \(a ViT, which CLIPViT builds\)'),
        (dict(layers=[1, 2]), r'layers=\[1, 2\] \(not four positive'),
        (dict(layers=[1, 2, 0, 1]), 'not four positive'),
        (dict(width=9), 'width=9'),
        (dict(width=2, head_width=96), 'width=2 .*96 / 32'),
        (dict(timm_model_name='resnet50'), "timm_model_name='resnet50'"),
        (dict(patch_dropout=0.5), 'patch_dropout=0.5'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_own_config_of_another_kind_is_refused(change, field):
    config = dict(TINY, vision_cfg={**TINY['vision_cfg'], **change})
    with pytest.raises(ValueError, match=f'{field}.*`backbone.arch`'):
        clip_resnet(config)


def test_each_kind_names_the_other():
    with pytest.raises(ValueError, match='which CLIPResNet builds'):
        MODELS.build(dict(type='lift_mm.CLIPViT', arch='RN50'))
    with pytest.raises(ValueError, match='which CLIPViT builds'):
        clip_resnet('ViT-B-16')
    with pytest.raises(ValueError, match="no model 'RN5'.*RN50"):
        clip_resnet('RN5')


@pytest.mark.parametrize(
    'change, sizes',
    [
        (dict(width=16), r'conv1\.weight is \(4, .*\(8, '),
        (dict(layers=[2, 2, 1, 1]), r'layer1\.1\..* is absent'),
        (dict(layers=[1, 1, 1, 1]), r'layer2\.1\..* no such tensor'),
    ],
)
def test_weights_of_another_architecture(tiny_file, change, sizes):
    config = dict(TINY, vision_cfg={**TINY['vision_cfg'], **change})
    with pytest.raises(ValueError, match=sizes) as refusal:
        clip_resnet(config, tiny_file)
    assert '`backbone.arch`' in str(refusal.value)


def test_weights_of_a_vit(tmp_path):
    torch.save(build_clip(TINY_VIT).state_dict(), tmp_path / 'vit.pt')
    with pytest.raises(ValueError, match=r'no ResNet.*`backbone.pretrained`'):
        clip_resnet(TINY, tmp_path / 'vit.pt')
    vit = dict(type='lift_mm.CLIPViT', arch=TINY_VIT)
    with pytest.raises(ValueError, match='`backbone.arch`'):
        torch.save(build_resnet().state_dict(), tmp_path / 'rn.pt')
        MODELS.build(dict(vit, pretrained=str(tmp_path / 'rn.pt')))


def test_activation_is_checked_against_the_weights(tiny, tmp_path):
    save_openai(tiny, tmp_path / 'jit.pt')
    with pytest.raises(ValueError, match='contradicts'):
        clip_resnet(TINY, tmp_path / 'jit.pt', quick_gelu=False)
    clip_resnet(TINY, tmp_path / 'jit.pt', quick_gelu=True)


# Tuners

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


@pytest.fixture(scope='module')
def plain(tiny_file):
    return clip_resnet(TINY, tiny_file)


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
            assert torch.equal(feature(net), base)
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
        assert torch.equal(feature(clone), expected)
        train(clone, steps=1)
        clone.eval()
        assert not torch.equal(feature(clone), expected)
        with disabled(clone):
            assert torch.equal(feature(clone), feature(plain))
    assert torch.equal(feature(net), expected)


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
    expected = feature(plain) * pair.scale + pair.shift
    assert torch.equal(feature(net), expected)


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
        fc = 0 if kind == 'mmpretrain' else _classifier(net, tuner)
        assert sum(p.numel() for p in learned) == number + fc
    with pytest.raises(ValueError, match='SSF of a ResNet.*attnpool.c_proj'):
        tune(net, [dict(type='SSF')])


def _classifier(net, tuner):
    """Biases of layers other than BatchNorms, counted by themselves."""
    biases = [
        m.bias.numel()
        for m in net.modules()
        if isinstance(m, nn.Linear) and tuner == 'BitFit'
    ]
    return sum(biases)


def test_no_blocks_at_all():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match='no transformer blocks.*residual'):
        tune(net, [dict(type='BitFit')])


# Heads and classifiers

NAMES = ['red panda', 'snow_leopard', 'axolotl']
TEXTUAL = dict(
    TINY, quick_gelu=True, text_cfg=dict(width=64, heads=1, layers=1)
)


@pytest.fixture(scope='module')
def textual(tmp_path_factory):
    path = tmp_path_factory.mktemp('textual') / 'clip.pt'
    model = build_resnet(TEXTUAL)
    torch.save(model.state_dict(), path)
    return model, str(path)


def classifier(path, tuners=(), init=None, **settings):
    backbone = dict(type='lift_mm.CLIPResNet', arch=TEXTUAL, pretrained=path)
    model = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=backbone,
                tuners=list(tuners),
            ),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=len(NAMES),
                in_channels=16,
                init=init,
            ),
            **settings,
        )
    )
    model.head.set_class_info(NAMES)
    model.eval()
    return model


def test_semantic_init_has_no_projection(textual):
    clip, path = textual
    model = classifier(path, init=dict(type='SemanticInit', cache=False))
    model.init_weights()
    prompts = [f'a photo of a {n.replace("_", " ")}.' for n in NAMES]
    with torch.no_grad():
        tokens = open_clip.tokenize(prompts)
        rows = F.normalize(clip.encode_text(tokens), dim=-1)
        logits = model(images(), mode='tensor')
        seen = F.normalize(clip.encode_image(images()), dim=-1)
    assert relative(model.head.fc.weight, rows) < 1e-5
    assert relative(logits, 25 * seen @ rows.T) < 1e-5  # CLIP's zero-shot
    init = dict(type='SemanticInit', cache=False, project=True)
    with pytest.raises(ValueError, match='no projection.*project=False'):
        classifier(path, init=init).init_weights()


def test_default_architecture_goes_to_the_head(tmp_path):
    backbone = dict(type='lift_mm.CLIPResNet', pretrained='/gone.pt')
    from lift_mm.models.classifier import _connect

    _, _, head = _connect(
        dict(type='TunedBackbone', backbone=backbone),
        None,
        dict(type='CosineHead', init=dict(type='SemanticInit')),
    )
    assert head['init']['arch'] == 'RN50'


def test_no_projection_behind_a_resnet(textual):
    with pytest.raises(ValueError, match='drop the key `model.neck`'):
        classifier(textual[1], neck=dict(type='lift_mm.CLIPProjection'))


def test_tuned_checkpoint_with_moved_statistics(textual, tmp_path):
    path = textual[1]
    model = classifier(path, [dict(type='NormTuning')])
    train(model.backbone)
    model.eval()
    frozen = frozen_keys(model)
    small = {k: v for k, v in model.state_dict().items() if k not in frozen}
    torch.save(small, tmp_path / 'tuned.pth')
    small = torch.load(tmp_path / 'tuned.pth', weights_only=True)
    other = classifier(path, [dict(type='NormTuning')])
    other.load_state_dict(dict(small))  # strict: the base completes it
    with torch.no_grad():
        expected = model(images(), mode='tensor')
        assert torch.equal(other(images(), mode='tensor'), expected)
    assert not other.backbone.frozen_base.replaced
    assert frozen_keys(other) == frozen
    plus = classifier(path, [dict(type='NormTuning', scope='lift+')])
    with pytest.raises(ValueError, match='made for tuners'):
        plus.load_state_dict(dict(small))
    assert len(weights.read(str(tmp_path / 'tuned.pth'))) == len(small)
