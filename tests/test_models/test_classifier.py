"""``LongTailClassifier``: what its parts learn from each other."""

import hashlib
import json

import open_clip
import pytest
import torch
from mmpretrain.structures import DataSample
from parity_models import relative
from test_tuners.tiny_models import (
    ARCH,
    NAMES,
    classifier,
    clip_file,
    model_config,
)

from lift_mm.models import (
    CLIPProjection,
    CLIPViT,
    CosineHead,
    SemanticInit,
    TunedBackbone,
)
from lift_mm.models import classifier as classifiers
from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return clip_file(tmp_path_factory.mktemp('base'))


def identity(model):
    return json.loads(bytes(model.fingerprint.tolist()))


@pytest.mark.parametrize(
    'head_classes, backbone_classes, width',
    [(16, None, 4), (17, 64, 16), (3, None, 1)],
)
def test_class_count_reaches_the_tuners(head_classes, backbone_classes, width):
    config = model_config(
        tuners=[dict(type='AdaptFormer')], num_classes=head_classes
    )
    if backbone_classes:
        config['backbone']['num_classes'] = backbone_classes
    model = MODELS.build(config)
    down = model.backbone.layers[0].adaptformer.down
    assert down.out_features == width
    assert 'num_classes' not in model_config()['backbone']


def test_class_count_of_a_built_head():
    config = model_config(tuners=[dict(type='AdaptFormer')])
    config['head'] = CosineHead(16, 32)
    model = MODELS.build(config)
    assert model.backbone.layers[0].adaptformer.down.out_features == 4


@pytest.mark.parametrize('kind', ['SemanticInit', 'lift_mm.SemanticInit'])
def test_clip_reaches_the_init(base, kind):
    init = dict(type=kind, template='a {}')
    config = model_config(base, init=init)
    config['backbone']['backbone']['quick_gelu'] = True
    got = MODELS.build(config).head.init
    assert got.arch == ARCH and got.pretrained == base
    assert got.quick_gelu is True and got.templates == ['a {}']
    assert init == dict(type=kind, template='a {}')  # left as it was
    init = dict(type=kind, arch='ViT-B-32', pretrained='openai')
    got = MODELS.build(model_config(base, init=init)).head.init
    assert (got.arch, got.pretrained) == ('ViT-B-32', 'openai')


def test_clip_reaches_the_init_without_tuners(base):
    config = model_config(base, init=dict(type='SemanticInit'))
    config['backbone'] = config['backbone']['backbone']
    got = MODELS.build(config).head.init
    assert got.arch == ARCH and got.pretrained == base


def test_types_given_as_objects(base):
    config = model_config(base, init=dict(type=SemanticInit))
    config['backbone']['type'] = TunedBackbone
    config['backbone']['backbone']['type'] = CLIPViT
    config['backbone']['tuners'] = [dict(type='AdaptFormer')]
    config['head']['num_classes'] = 16
    model = MODELS.build(config)
    assert model.head.init.pretrained == base
    assert model.backbone.layers[0].adaptformer.down.out_features == 4


def test_backbone_without_text(base):
    config = model_config(init=dict(type='SemanticInit'))
    config['backbone']['backbone'] = dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=32,
            num_layers=2,
            num_heads=2,
            feedforward_channels=32,
        ),
        img_size=16,
        patch_size=4,
    )
    with pytest.raises(ValueError, match='needs a text tower'):
        MODELS.build(config)


def test_zero_shot_is_that_of_open_clip(base):
    """Neck, text rows and cosine head against CLIP's own two towers."""
    config = model_config(
        base,
        tuners=[],
        init=dict(type='SemanticInit', template='a {}', project=False),
        neck=dict(type='lift_mm.CLIPProjection'),
    )
    config['head']['in_channels'] = ARCH['embed_dim']
    model = MODELS.build(config)
    model.eval()
    model.head.set_class_info(NAMES)
    model.init_weights()
    clip = open_clip.CLIP(**ARCH).eval()
    clip.load_state_dict(torch.load(base, weights_only=True))
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        tokens = open_clip.tokenize([f'a {name}' for name in NAMES])
        text = clip.encode_text(tokens, normalize=True)
        expected = 25 * clip.encode_image(images, normalize=True) @ text.T
        got = model(images, mode='tensor')
    assert relative(got, expected) < 1e-5
    assert learned_parameters(model).keys() == {'head.fc.weight'}


def test_projection_refuses_other_weights(base, tmp_path):
    with pytest.raises(ValueError, match=r'weight is \(32, 8\).*\(32, 9\)'):
        CLIPProjection(dict(ARCH, embed_dim=9), base)
    state = torch.load(base, weights_only=True)
    del state['visual.proj']
    torch.save(state, tmp_path / 'no-projection.pt')
    with pytest.raises(ValueError, match='weight is absent'):
        CLIPProjection(ARCH, str(tmp_path / 'no-projection.pt'))


def test_fingerprint_says_what_the_model_is(base):
    model = classifier(base)
    told = identity(model)
    guard = model.backbone.frozen_base
    assert told['base'] == [[f'CLIPViT({base})', guard.fingerprint]]
    assert told['tuners'] == [
        dict(type='AdaptFormer', hidden_dims=2, layers=[0, 1])
    ]
    assert told['num_classes'] == 3
    assert set(told['classes']) == {'0'}
    size = model.fingerprint.numel()
    model.set_class_info(NAMES, [3, 2, 1])
    assert model.fingerprint.numel() == size
    classes = {told['classes'], identity(model)['classes']}
    model.set_class_info(NAMES[::-1])
    assert len(classes | {identity(model)['classes']}) == 3


def test_class_names_with_line_ends_and_no_utf8():
    model, found = classifier(), []
    for names in (
        ['a\nb', 'c', 'd'],
        ['a', 'b\nc', 'd'],
        ['\udce9', 'c', 'd'],
    ):
        model.set_class_info(names)
        found.append(identity(model)['classes'])
    assert len(set(found)) == 3
    # What tuned checkpoints out there hold for other names.
    model.set_class_info(NAMES)
    digest = hashlib.sha256('\n'.join(NAMES).encode()).hexdigest()
    assert identity(model)['classes'] == digest


@pytest.mark.parametrize('compile', [True, {}])
def test_compiling_is_refused_where_it_cannot_work(monkeypatch, compile):
    monkeypatch.setattr(classifiers, 'compiles_blocks', lambda: False)
    with pytest.raises(ValueError, match='key `model.compile`'):
        MODELS.build(model_config(compile=compile))
    MODELS.build(model_config(compile=False))


def test_loss_and_predictions():
    model = classifier()
    model.head.loss_module.set_class_info(NAMES, [6, 3, 1])
    model.head.loss_module.train()  # no validation loss, though no gradients
    samples = [DataSample().set_gt_label(label) for label in (2, 0)]
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        loss = model(images, samples, mode='loss')['loss']
        logits = model(images, mode='tensor')
        found = model(images, samples, mode='predict')
    prior = torch.tensor([0.6, 0.3, 0.1]).log()
    log_p = (logits + prior).log_softmax(1)
    expected = -(log_p[0, 2] + log_p[1, 0]) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for sample, scores in zip(found, logits.softmax(1)):  # without prior
        assert torch.allclose(sample.pred_score, scores)
        assert sample.pred_label.item() == scores.argmax()


def test_plain_backbone_has_nothing_to_compare():
    config = model_config()
    config['backbone'] = config['backbone']['backbone']
    model, other = MODELS.build(config), MODELS.build(config)
    assert identity(model)['base'] == []
    other.load_state_dict(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_tuned_state_of_another_kind_of_head(base):
    """Equal keys and shapes, but rows that mean something else."""
    config = model_config(base, tuners=[])
    state = MODELS.build(config).state_dict()
    config['head']['type'] = 'lift_mm.L2NormHead'
    other = MODELS.build(config)
    before = other.head.fc.weight.clone()
    with pytest.raises(ValueError, match='CosineHead, this .*L2NormHead'):
        other.load_state_dict(state)
    assert torch.equal(other.head.fc.weight, before)
