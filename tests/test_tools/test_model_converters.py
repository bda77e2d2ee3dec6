"""Merging, publishing and converting, as a user calls the tools."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import parity_data
import parity_models
import pytest
import torch
from finished_run import CLASSES, COUNTS, Run
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.registry import MODELS

from lift_mm import apis
from lift_mm.safe_load import load_file
from lift_mm.tuners import TunerModule, disabled

ROOT = Path(__file__).parents[2]
IMAGES = sorted(map(str, (parity_data.ROOT / 'images').glob('*.png')))[:2]
VIT = dict(
    type='VisionTransformer',
    arch=dict(
        embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=48
    ),
    img_size=32,
    patch_size=8,
    drop_rate=0.1,
    drop_path_rate=0.1,
    norm_cfg=dict(type='LN', eps=1e-5),
)
SSF = dict(type='SSF', sites=['attn', 'mlp', 'norm'])
LORA = dict(type='LoRA', rank=2)
LAST = dict(type='AdaptFormer', layers=2, hidden_dims=3)


def tool(name):
    path = ROOT / f'tools/model_converters/{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def logits(model):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return model(x, mode='tensor')


SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[1, 2], num_heads=[2, 2]),
    img_size=32,
    patch_size=4,
    window_size=2,
    out_indices=(1,),
    drop_path_rate=0.3,
)
BEIT = dict(VIT, type='BEiTViT', layer_scale_init_value=0.0)
WIDE = dict(
    VIT, layer_cfgs=dict(act_cfg=dict(type='lift_mm.SplitAct', tail=5))
)
EVA = dict(VIT, type='ViTEVA02')
TIMM = dict(
    type='TIMMBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    patch_size=16,
    embed_dim=32,
    depth=2,
    num_heads=2,
)


@pytest.mark.parametrize(
    'tuners, inner, needs, left',
    [
        ([LORA, SSF], None, set(), []),
        ([dict(type='AdaptFormer')], None, {'SplitAct'}, []),
        (
            [
                LAST,
                LORA,
                SSF,
                dict(type='MaskedTuning', ratio=0.1),
                dict(type='BitFit'),
            ],
            None,
            {'SplitAct'},
            [],
        ),
        (
            [LAST, LORA, dict(type='Adapter', layers=[1])],
            VIT,
            {'SplitAct', 'TunedBackbone'},
            ['Adapter', 'AdaptFormer'],
        ),
        (
            [dict(type='VPT', length=3), SSF],
            VIT,
            {'TunedBackbone'},
            ['VPT'],
        ),
        (
            [
                dict(type='AdaptFormer', layers=[0]),
                dict(type='AdaptFormer', layers=[2], hidden_dims=5),
                dict(type='Adapter', layers=[2]),
            ],
            VIT,
            {'SplitAct', 'TunedBackbone'},
            ['Adapter', 'AdaptFormer'],
        ),
        ([LORA, SSF], dict(VIT, qkv_bias=False), set(), []),
        ([LORA, SSF], SWIN, set(), []),
        ([LAST, LORA], SWIN, {'TunedBackbone'}, ['AdaptFormer']),
        ([LAST], BEIT, {'SplitAct'}, []),
        ([LAST], WIDE, {'SplitAct'}, []),
        ([dict(type='BitFit')], EVA, set(), []),
        ([LORA, SSF], TIMM, set(), []),
    ],
)
def test_merge(tmp_path, capsys, tuners, inner, needs, left):
    run = Run(tmp_path, tuners, inner, 32 if inner else 128)
    out = tmp_path / 'merged' / 'plain'
    argv = [run.config, run.checkpoint, str(out)]
    tool('merge_tuners').main([*argv, '--images', *IMAGES])
    text = capsys.readouterr().out
    assert 'logit difference on random input' in text
    assert 'logit difference on 2 images' in text
    stays = [line for line in text.splitlines() if 'Not merged: ' in line]
    stays = {line.split('Not merged: ')[1].split()[0] for line in stays}
    assert stays == set(left)

    loaded = torch.load(f'{out}.pth', weights_only=True)
    assert loaded['meta']['dataset_meta']['class_counts'] == COUNTS
    assert len(loaded['meta']['unmerged']) == len(left)
    assert 'fingerprint' not in loaded['state_dict']
    cfg = Config.fromfile(f'{out}.py')
    assert cfg.model.type == 'ImageClassifier'
    used = str(cfg.model)
    for name in ('SplitAct', 'TunedBackbone'):
        assert (f'lift_mm.{name}' in used) == (name in needs), name
        assert (f'lift_mm.{name}' in text) == (name in needs), name
    assert 'CLIPViT' not in used and 'Pretrained' not in used
    assert 'LogitAdjusted' not in used and 'SemanticInit' not in used
    assert not {'train_cfg', 'optim_wrapper'} & set(cfg)
    assert [h.type for h in cfg.custom_hooks] == ['lift_mm.ClassInfoHook']

    merged = get_model(f'{out}.py', f'{out}.pth', device='cpu')
    assert merged._dataset_meta['classes'] == CLASSES
    error = parity_models.relative(logits(merged), logits(run.model))
    assert error < 1e-5
    modules = [m for m in merged.modules() if isinstance(m, TunerModule)]
    assert bool(modules) == bool(left)
    if left:
        with pytest.raises(ValueError, match=left[0]):
            tool('merge_tuners').main([*argv, '--strict'])


RESNET = dict(
    type='lift_mm.CLIPResNet',
    arch=dict(
        embed_dim=16,
        vision_cfg=dict(layers=[1, 1, 1, 1], width=8, image_size=64),
        text_cfg={},
    ),
)


@pytest.mark.parametrize(
    'config, side',
    [(VIT, 32), (SWIN, 32), (TIMM, 32), (RESNET, 64)],
    ids=['ViT', 'Swin', 'timm', 'CLIPResNet'],
)
def test_size_of_the_random_images(config, side):
    net = MODELS.build(config)
    size = tool('merge_tuners').image_size(net, config)
    assert size == (side, side)
    net(torch.zeros(1, 3, *size))


def test_merged_files_need_no_import_by_the_user(tmp_path):
    run = Run(tmp_path, [dict(type='AdaptFormer')])
    out = str(tmp_path / 'plain.pth')  # the suffix does not matter
    tool('merge_tuners').main([run.config, run.checkpoint, out])
    code = (
        'import sys\n'
        'from mmpretrain import ImageClassificationInferencer as Inferencer\n'
        'model = Inferencer(sys.argv[1], sys.argv[2], device="cpu")\n'
        'print("\\n" + model(sys.argv[3])[0]["pred_class"])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, out[:-4] + '.py', out, IMAGES[0]],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout.splitlines()[-1] in CLASSES, done.stderr[-3000:]


def test_merge_refuses(tmp_path):
    run = Run(tmp_path, [LORA])
    merge = tool('merge_tuners').main
    argv = [run.config, run.checkpoint, str(tmp_path / 'x')]
    cfg = Config.fromfile(run.config)
    cfg.model.backbone.tuners = [SSF]
    cfg.dump(tmp_path / 'other.py')
    with pytest.raises(ValueError, match='model.backbone.tuners'):
        merge([str(tmp_path / 'other.py'), *argv[1:]])
    cfg.model.backbone = cfg.model.backbone.backbone
    cfg.dump(tmp_path / 'plain.py')
    with pytest.raises(ValueError, match='model.backbone.type'):
        merge([str(tmp_path / 'plain.py'), *argv[1:]])
    assert not (tmp_path / 'x.pth').exists()


def test_post_hoc_counts_are_kept(tmp_path):
    run = Run(tmp_path, [LORA], post_hoc_tau=1.0)
    out = str(tmp_path / 'merged')
    tool('merge_tuners').main([run.config, run.checkpoint, out])
    head = Config.fromfile(f'{out}.py').model.head
    assert head.post_hoc_tau == 1 and list(head.class_counts) == COUNTS


@pytest.mark.parametrize(
    'tuners',
    [[dict(type='AdaptFormer')], [dict(type='MaskedTuning', ratio=0.1)]],
)
def test_publish(tmp_path, capsys, tuners):
    run = Run(tmp_path, tuners)
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps({'lt/acc': 71.5}))
    argv = [run.config, run.checkpoint, str(tmp_path / 'out')]
    tool('publish_tuned').main([*argv, '--metrics', str(metrics)])
    (path,) = (tmp_path / 'out').iterdir()
    assert path.name in capsys.readouterr().out

    stem, date, sha = path.stem.replace('-', '_').split('_')
    assert stem == 'recipe' and len(date) == 8
    assert sha == hashlib.sha256(path.read_bytes()).hexdigest()[:8]

    loaded = torch.load(path, weights_only=True)
    assert loaded.keys() == {'meta', 'state_dict'}
    state, meta = loaded['state_dict'], loaded['meta']
    assert state.keys() == run.state.keys()
    size = sum(v.numel() * v.element_size() for v in state.values())
    assert path.stat().st_size <= 1.05 * size + 64 * 1024
    assert meta['metrics'] == {'lt/acc': 71.5}
    assert meta['dataset_meta']['classes'] == CLASSES
    assert meta['dataset_meta']['class_counts'] == COUNTS
    assert meta['tuners'][0]['type'] == tuners[0]['type']
    ((name, sha),) = meta['base']
    assert name == 'CLIPViT(parity-clip.safetensors)'
    assert sha == run.model.backbone.frozen_base.fingerprint
    assert str(tmp_path).encode() not in path.read_bytes()

    # Every loader takes it.
    expected = logits(run.model)
    model = get_model(run.config, str(path), device='cpu')
    assert torch.equal(logits(model), expected)
    assert model._dataset_meta['classes'] == CLASSES
    other = get_model(run.config, device='cpu')
    assert torch.equal(logits(apis.load_tuned(other, path)), expected)
    again = tmp_path / 'again'
    tool('publish_tuned').main([run.config, str(path), str(again)])
    (second,) = again.iterdir()
    assert load_file(second)['state_dict'].keys() == state.keys()


@pytest.mark.parametrize(
    'kind', ['CosineHead', 'LinearHead', 'L2NormHead', 'LayerNormHead']
)
def test_every_head_is_merged_and_published(tmp_path, kind):
    run = Run(tmp_path, [LORA], type=f'lift_mm.{kind}')
    expected = logits(run.model)
    out = str(tmp_path / 'merged')
    tool('merge_tuners').main([run.config, run.checkpoint, out])
    merged = get_model(f'{out}.py', f'{out}.pth', device='cpu')
    assert type(merged.head).__name__ == kind
    assert parity_models.relative(logits(merged), expected) < 1e-5

    folder = str(tmp_path / 'out')
    tool('publish_tuned').main([run.config, run.checkpoint, folder])
    (path,) = (tmp_path / 'out').iterdir()
    model = get_model(run.config, str(path), device='cpu')
    assert torch.equal(logits(model), expected)


def test_publish_refuses_another_base(tmp_path):
    run = Run(tmp_path, [LORA])
    whole = {k: v.clone() for k, v in run.model.state_dict().items()}
    whole['backbone.cls_token'] += 1
    path = str(tmp_path / 'whole.pth')
    torch.save(dict(state_dict=whole), path)
    with pytest.raises(ValueError, match='backbone.backbone.pretrained'):
        tool('publish_tuned').main([run.config, path, str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


def official(case):
    """Give a checkpoint as the LIFT program saves it."""
    data = parity_data.load('tuners_v1')
    prefix = f'v1/{case}/param/'
    tuner = {
        key.removeprefix(prefix): value
        for key, value in data.items()
        if key.startswith(prefix)
    }
    return dict(tuner=tuner, head={'weight': data['head.weight']}), data


def test_convert_official(tmp_path, capsys):
    cases = parity_data.meta('tuners_v1')['cases']
    case = next(name for name in cases if name.startswith('adaptformer'))
    checkpoint, data = official(case)
    checkpoint['tuner']['strange_list.0.x'] = torch.zeros(1)
    path, out = str(tmp_path / 'lift.pth'), str(tmp_path / 'ours.pth')
    torch.save(checkpoint, path)
    convert = tool('convert_official').main
    convert([path, out])
    text = capsys.readouterr().out
    placed = len(checkpoint['tuner'])  # one less, and the head
    assert f'{placed} tensors placed' in text
    assert 'No place for strange_list.0.x' in text

    tuners = parity_models.tuners_of(cases[case]['options'])
    run = Run(tmp_path, tuners)
    convert([path, out, '--config', run.config])
    assert 'No place for strange_list.0.x' in capsys.readouterr().out
    model = get_model(run.config, device='cpu')
    apis.load_tuned(model, out)
    with torch.no_grad():
        found = model(data['images'], mode='tensor')
    expected = data[f'v1/{case}/logits_s25']
    assert parity_models.relative(found, expected) < 1e-5
    with disabled(model):
        assert torch.isfinite(logits(model)).all()

    wrong = Run(tmp_path, [LORA]).config
    with pytest.raises(ValueError, match='model.backbone.tuners'):
        convert([path, out, '--config', wrong])
    torch.save(dict(x=1), path)
    with pytest.raises(ValueError, match='no tensor of a LIFT'):
        convert([path, out])


def test_convert_a_linear_head(tmp_path, capsys):
    cases = parity_data.meta('tuners_v1')['cases']
    case = next(name for name in cases if name.startswith('adaptformer'))
    checkpoint, data = official(case)
    path, out = str(tmp_path / 'lift.pth'), str(tmp_path / 'ours.pth')
    tuners = parity_models.tuners_of(cases[case]['options'])
    config = Run(tmp_path, tuners, type='lift_mm.LinearHead').config
    convert = tool('convert_official').main
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match='head.fc.bias of the checkpoint'):
        convert([path, out, '--config', config])
    bias = torch.arange(40.0)
    checkpoint['head']['bias'] = bias
    torch.save(checkpoint, path)
    convert([path, out, '--config', config])
    assert 'No place' not in capsys.readouterr().out
    model = get_model(config, device='cpu')
    apis.load_tuned(model, out)
    with torch.no_grad():
        found = model(data['images'], mode='tensor')
    feature = data[f'v1/{case}/feature']
    expected = feature @ data['head.weight'].T + bias
    assert parity_models.relative(found, expected) < 1e-5

    cosine = Run(tmp_path, tuners).config
    convert([path, out, '--config', cosine])
    assert 'No place for head.fc.bias' in capsys.readouterr().out
