"""Exported files compute what the model does, and say what they need."""

import io
import json
import sys

import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS
from test_tuners import tiny_models
from torch import nn

import lift_mm
from lift_mm import apis, deploy
from lift_mm.tuners import TunerModule, learned_parameters

onnx = pytest.importorskip('onnx', reason='needs the extra export')
pytest.importorskip('onnxruntime', reason='needs the extra export')
pytest.importorskip('onnxscript', reason='needs the extra export')

MEAN, STD = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
COUNTS = [50, 7, 2]
FILES = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
ARRAYS = FILES[1:]
VIT = dict(
    type='VisionTransformer',
    arch=dict(
        embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=48
    ),
    img_size=16,
    patch_size=8,
)
RESNET = dict(
    type='ResNet',
    depth=18,
    stem_channels=8,
    base_channels=4,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
)
CLIP_RESNET = dict(
    type='lift_mm.CLIPResNet',
    arch=dict(
        embed_dim=16,
        vision_cfg=dict(layers=[1, 1, 1, 1], width=8, image_size=64),
        text_cfg={},
    ),
)
ADAPTFORMER = dict(type='AdaptFormer', hidden_dims=3)


def head_of(name, width, **kwargs):
    return dict(
        type=f'lift_mm.{name}', num_classes=3, in_channels=width, **kwargs
    )


COSINE = head_of('CosineHead', 32, scale=5)


def classifier(
    folder,
    backbone=None,
    tuners=(),
    neck=None,
    head=COSINE,
    to_rgb=True,
    preprocessor=None,
):
    """Build a model with random weights and learned parts."""
    torch.manual_seed(0)
    clip = dict(
        type='lift_mm.CLIPViT',
        arch=tiny_models.ARCH,
        pretrained=tiny_models.clip_file(folder),
    )
    model = MODELS.build(
        dict(
            type='lift_mm.LongTailClassifier',
            data_preprocessor=preprocessor
            or dict(mean=MEAN, std=STD, to_rgb=to_rgb),
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=backbone or clip,
                tuners=list(tuners),
            ),
            neck=neck,
            head=head,
        )
    )
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # else deep nets vanish
                module.running_mean.normal_(0, 0.1)
                module.weight.fill_(1.2)
    model._dataset_meta = dict(classes=tiny_models.NAMES, class_counts=COUNTS)
    model.eval()
    return model


def bytes_or_str(value):
    return value.decode() if isinstance(value, bytes) else value


def pixels(number, side=16):
    return deploy.random_images(number, (side, side), seed=4)


def scores(model, images):
    """Give probabilities as a test step does, from what a pipeline gives."""
    with torch.no_grad():
        samples = model.test_step(dict(inputs=list(images)))
    return torch.stack([sample.pred_score for sample in samples])


MODELS_TO_EXPORT = dict(
    CLIPViT=dict(tuners=[ADAPTFORMER, dict(type='LoRA', rank=2)]),
    CLIPResNet=dict(
        backbone=CLIP_RESNET,
        tuners=[dict(type='BitFit')],
        head=head_of('LinearHead', 16),
    ),
    ViT_VPT=dict(
        backbone=VIT,
        tuners=[dict(type='VPT', length=2), dict(type='SSF')],
        head=head_of('L2NormHead', 32),
    ),
    ResNet=dict(
        backbone=RESNET,
        neck=dict(type='GlobalAveragePooling'),
        head=head_of('LayerNormHead', 8),
        to_rgb=False,
    ),
    CLIPViT_Adapter_text=dict(
        tuners=[dict(type='Adapter', hidden_dims=2)],
        neck=dict(type='lift_mm.CLIPProjection'),
        head=dict(type='lift_mm.TextHead', num_classes=3),
    ),
)


@pytest.mark.parametrize('kind', deploy.ENDINGS)
@pytest.mark.parametrize('name', MODELS_TO_EXPORT)
def test_predictions_of_a_file(tmp_path, name, kind):
    model = classifier(tmp_path, **MODELS_TO_EXPORT[name])
    side = 64 if 'ResNet' in name else 16
    before = {k: v.clone() for k, v in model.state_dict().items()}
    path = tmp_path / f'model{deploy.ENDINGS[kind]}'
    found = apis.export(
        model,
        path,
        pipeline=FILES,
        images=pixels(2, side),
        size=(64, 64) if name == 'ResNet' else None,
    )
    assert found.keys() == {'random', 'images'}
    assert max(found.values()) < 1e-5
    run = deploy.read_back(path.read_bytes(), kind)
    for number in (1, 3, 5):
        blue_first = pixels(number, side)
        logits = run(blue_first.flip(1))
        expected = scores(model, blue_first)
        assert logits.shape == (number, 3)
        assert torch.allclose(logits.softmax(1), expected, atol=1e-5)
    # Different images differ, or nothing was compared.
    assert (expected[0] - expected[1]).abs().max() > 1e-4
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert any(isinstance(m, TunerModule) for m in model.modules()) == (
        'ViT' in name
    )


@pytest.mark.parametrize('kind', deploy.ENDINGS)
def test_what_a_file_says(tmp_path, kind):
    model = classifier(tmp_path, tuners=[ADAPTFORMER])
    pipeline = [
        FILES[0],
        dict(type='ResizeEdge', scale=20, backend='pillow'),
        dict(type='CenterCrop', crop_size=16),
        FILES[1],
    ]
    path = tmp_path / f'model{deploy.ENDINGS[kind]}'
    apis.export(model, path, pipeline=pipeline, dtype=torch.float32)
    keys = ['classes', 'class_counts', 'preprocessing', 'lift_mm_version']
    said = dict.fromkeys(keys, '')
    data = path.read_bytes()
    if kind == 'onnx':
        proto = onnx.load_from_string(data)
        said = {entry.key: entry.value for entry in proto.metadata_props}
        (opset,) = (o.version for o in proto.opset_import if not o.domain)
        assert said.pop('opset') == str(opset) == str(deploy.OPSET)
        assert said.keys() == set(keys)
        (given,), (result,) = proto.graph.input, proto.graph.output
        assert (given.name, result.name) == ('images', 'logits')
        shapes = [
            [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (given, result)
        ]
        assert shapes == [['batch', 3, 16, 16], ['batch', 3]]
        assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    elif kind == 'torch-export':
        torch.export.load(io.BytesIO(data), extra_files=said)
    else:
        torch.jit.load(io.BytesIO(data), _extra_files=said)
    said = {
        k: v if isinstance(v, str) else v.decode() for k, v in said.items()
    }
    assert said['lift_mm_version'] == lift_mm.__version__
    assert json.loads(said['classes']) == list(tiny_models.NAMES)
    assert json.loads(said['class_counts']) == COUNTS
    about = json.loads(said['preprocessing'])
    assert about['size'] == [16, 16] and about['dtype'] == 'float32'
    assert about['channels'] == 'RGB'
    assert [step['op'] for step in about['steps']] == [
        'resize_edge',
        'center_crop',
    ]
    # Nobody reads from it where it was made.
    for place in (str(tmp_path), lift_mm.__path__[0], torch.__path__[0]):
        assert place.encode() not in data


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('pipeline', [FILES, ARRAYS], ids=['bgr', 'rgb'])
def test_order_of_channels(tmp_path, pipeline, to_rgb):
    model = classifier(tmp_path, to_rgb=to_rgb)
    reads = deploy.channel_order(pipeline)
    rgb = pixels(2)
    from_pipeline = rgb.flip(1) if pipeline is FILES else rgb
    expected = scores(model, from_pipeline)
    graph = deploy.exportable(model, reads)
    assert torch.allclose(graph(rgb).softmax(1), expected, atol=1e-6)
    swapped = graph(rgb.flip(1)).softmax(1)
    assert not torch.allclose(swapped, expected, atol=1e-4)


def test_without_normalisation(tmp_path):
    model = classifier(tmp_path, preprocessor=dict(to_rgb=True))
    expected = scores(model, pixels(2).flip(1))
    logits = deploy.exportable(model)(pixels(2))
    assert torch.allclose(logits.softmax(1), expected, atol=1e-6)


def test_post_hoc_adjustment_is_inside(tmp_path):
    adjusted = dict(COSINE, post_hoc_tau=1.0)
    model = classifier(tmp_path, head=adjusted)
    path = tmp_path / 'model.pt2'
    apis.export(model, path, pipeline=FILES)
    logits = deploy.read_back(path.read_bytes(), 'torch-export')(pixels(2))
    with torch.no_grad():
        normed = model.data_preprocessor(dict(inputs=pixels(2).flip(1)))
        plain = model(normed['inputs'], mode='tensor')
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    assert torch.allclose(logits, plain - prior.log(), atol=1e-4)
    assert model.head.class_counts is None
    model._dataset_meta = {}
    with pytest.raises(ValueError, match='post_hoc_tau'):
        apis.export(model, tmp_path / 'unknown.pt2', pipeline=FILES)


@pytest.mark.parametrize('opset', [18, 23])
def test_opset(tmp_path, opset):
    path = tmp_path / 'model.onnx'
    apis.export(classifier(tmp_path), path, pipeline=FILES, opset=opset)
    proto = onnx.load(path)
    assert opset in [o.version for o in proto.opset_import if not o.domain]
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said['opset'] == str(opset)


def test_a_wrong_file_is_not_left(tmp_path, monkeypatch):
    """One that normalises otherwise; the file from before stays."""
    wrap = deploy.exportable

    def spoiled(*args):
        graph = wrap(*args)
        graph.mean += 1
        return graph

    monkeypatch.setattr(deploy, 'exportable', spoiled)
    path = tmp_path / 'model.ts'
    path.write_text('from before')
    model = classifier(tmp_path)
    with pytest.raises(ValueError, match='no file is left'):
        apis.export(model, path, pipeline=FILES)
    assert path.read_text() == 'from before'
    assert {p.name for p in tmp_path.iterdir()} == {path.name, 'clip0.pt'}


def test_not_a_number_is_wrong(tmp_path):
    model = classifier(tmp_path)
    with pytest.raises(ValueError, match='nan'):
        deploy.difference(
            model,
            lambda x: torch.full((len(x), 3), torch.nan),
            pixels(2),
            'rgb',
        )


@pytest.mark.parametrize(
    'name, given, words',
    [
        ('model.bin', {}, 'format'),
        ('model.onnx', dict(format='torchscript'), 'format'),
        ('model.onnx', dict(format='tflite'), 'format'),
        ('model.pt2', dict(opset=20), '`opset`'),
        ('model.onnx', dict(opset=7), '18 to 23'),
        ('model.onnx', dict(dtype=torch.float16), '`dtype`'),
        ('model.onnx', dict(pipeline=None), '`pipeline`'),
        (
            'model.onnx',
            dict(pipeline=[dict(type='lift_mm.MultiCrop', crop_size=16)]),
            'MultiCrop.crop_size=16.*test_dataloader.dataset.pipeline',
        ),
    ],
)
def test_refuses(tmp_path, name, given, words):
    model = classifier(tmp_path)
    with pytest.raises(ValueError, match=words):
        apis.export(
            model, tmp_path / name, **dict(dict(pipeline=FILES), **given)
        )
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    'changes, error, words',
    [
        (
            dict(preprocessor=dict(pad_size_divisor=32)),
            ValueError,
            'pad_size_divisor',
        ),
        (
            dict(preprocessor=BaseDataPreprocessor()),
            TypeError,
            'model.data_preprocessor',
        ),
        (dict(head=None), TypeError, 'model.head'),
        (
            dict(
                neck=dict(type='lift_mm.CLIPProjection'),
                head=dict(type='lift_mm.TextHead', num_classes=3),
            ),
            ValueError,
            'class names of a TextHead',
        ),
    ],
)
def test_models_that_have_no_graph(tmp_path, changes, error, words):
    model = classifier(tmp_path, **changes)
    with pytest.raises(error, match=words):
        deploy.exportable(model)


def test_too_large_for_onnx(tmp_path, monkeypatch):
    monkeypatch.setattr('lift_mm.deploy.formats._ONNX_LIMIT', 1000)
    with pytest.raises(ValueError, match='2 GiB'):
        apis.export(classifier(tmp_path), tmp_path / 'x.onnx', pipeline=FILES)


def test_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r'lift_mm\[export\]'):
        apis.export(classifier(tmp_path), tmp_path / 'x.onnx', pipeline=FILES)
