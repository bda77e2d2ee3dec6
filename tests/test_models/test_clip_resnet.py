"""``CLIPResNet`` against open_clip's towers."""

import copy

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

from lift_mm.clip.arch import model_config, resnet_config
from lift_mm.models.classifier import _connect
from lift_mm.registry import MODELS

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
        (dict(layers=[1, 2]), r'layers=\[1, 2\] \(not four'),
        (dict(layers=[1, 2, 0, 1]), 'a whole number above 0'),
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


# The head

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


def classifier(path, tuners=(), init=None, arch=TEXTUAL, **settings):
    backbone = dict(type='lift_mm.CLIPResNet', arch=arch, pretrained=path)
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


def test_default_architecture_goes_to_the_head():
    backbone = dict(type='lift_mm.CLIPResNet', pretrained='/gone.pt')
    _, _, head = _connect(
        dict(type='TunedBackbone', backbone=backbone),
        None,
        dict(type='CosineHead', init=dict(type='SemanticInit')),
    )
    assert head['init']['arch'] == 'RN50'


def test_no_projection_behind_a_resnet(textual):
    with pytest.raises(ValueError, match='drop the key `model.neck`'):
        classifier(textual[1], neck=dict(type='lift_mm.CLIPProjection'))
