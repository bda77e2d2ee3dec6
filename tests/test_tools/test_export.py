"""From a checkpoint to a file, and from the file to a prediction."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import ExifTags, Image
from test_tuners import tiny_models

from lift_mm import deploy
from lift_mm.apis import tuned_state

for package in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(package, reason='needs the extra export')

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name('toy.py')
SIZES = [(37, 53), (53, 37), (41, 41), (20, 90), (91, 20), (24, 33)]
# Whoever serves a model has none of these.
SERVE = """
import glob, runpy, sys
for name in ('torch', 'torchvision', 'cv2', 'mmcv', 'mmengine', 'mmpretrain',
             'lift_mm', 'onnx', 'onnxscript'):
    sys.modules[name] = None
main = runpy.run_path(sys.argv[1])['main']
for picture in sys.argv[3:]:
    print('>', picture)
    main(sys.argv[2], picture)
"""


def tool():
    path = ROOT / 'tools/model_converters/export.py'
    spec = importlib.util.spec_from_file_location('export', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def child(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def photographs(root):
    """Write pictures of many sizes, one of them lying on its side."""
    rng = np.random.default_rng(0)
    for index, size in enumerate(SIZES):
        folder = root / tiny_models.NAMES[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        exif = Image.Exif()
        if index == 0:
            exif[ExifTags.Base.Orientation] = 6
        kind = 'jpg' if index == 0 else 'png'
        image.save(folder / f'{index}.{kind}', exif=exif)
    return root


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Give config and checkpoint of a training, and its pictures."""
    folder = tmp_path_factory.mktemp('trained')
    clip = tiny_models.clip_file(folder)
    torch.manual_seed(0)
    model = tiny_models.classifier(clip, tiny_models.NAMES)
    data = dict(classes=tiny_models.NAMES, class_counts=[5, 3, 2])
    checkpoint = folder / 'epoch_1.pth'
    state = dict(meta=dict(dataset_meta=data), state_dict=tuned_state(model))
    torch.save(state, checkpoint)
    pictures = photographs(folder / 'pictures')
    dataset = tiny_models.dataset(pictures, train=False)
    dataset['pipeline'] = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow'),
        dict(
            type='ResizeEdge',
            scale=21,
            edge='short',
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='CenterCrop', crop_size=16),
        dict(type='PackInputs'),
    ]
    config = tiny_models.model_config(clip)
    config['data_preprocessor'] = dict(
        mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], to_rgb=True
    )
    config = tiny_models.run_config(
        folder / 'work',
        config,
        pictures,
        test_dataloader=tiny_models.loader(dataset),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_cfg=dict(),
    )
    Config(config).dump(folder / 'recipe.py')
    return folder / 'recipe.py', checkpoint, pictures


def test_served_without_torch(trained, tmp_path, capsys):
    config, checkpoint, _ = trained
    out = tmp_path / 'new folder' / 'model.onnx'
    tool()([str(config), str(checkpoint), str(out)])
    said = capsys.readouterr().out
    for words in ('on random', 'on images', 'Opset: 20', f'Written: {out}'):
        assert words in said, words

    child(
        ROOT / 'tools/test.py',
        config,
        checkpoint,
        *('--out', tmp_path / 'predictions.pkl'),
    )
    with open(tmp_path / 'predictions.pkl', 'rb') as file:
        expected = {
            sample['img_path']: sample['pred_score'].tolist()
            for sample in pickle.load(file)
        }
    assert len(expected) == len(SIZES)
    assert np.ptp(list(expected.values()), axis=0).max() > 0.01

    serve = ROOT / 'demo/serve_onnx.py'
    served = child('-c', SERVE, serve, out, *expected)
    for part in served.split('> ')[1:]:
        picture, *lines = part.splitlines()
        wanted = expected[picture]
        found = {}
        for line in lines:
            score, name = line.split(maxsplit=1)
            found[name] = float(score)
        assert list(found) == sorted(
            tiny_models.NAMES,
            key=lambda name: -wanted[tiny_models.NAMES.index(name)],
        )
        by_label = [found[name] for name in tiny_models.NAMES]
        assert by_label == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize('to_rgb', [False, True])
def test_a_model_of_mmpretrain_alone(trained, tmp_path, capsys, to_rgb):
    """Without a class name or a test set; images given by hand."""
    from mmpretrain import get_model

    cfg = Config.fromfile(TOY)
    cfg.model.data_preprocessor.to_rgb = to_rgb
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    cfg.dump(tmp_path / 'toy.py')
    torch.manual_seed(0)
    model = get_model(cfg, device='cpu')
    checkpoint = str(tmp_path / 'toy.pth')
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    argv = [str(tmp_path / 'toy.py'), checkpoint]
    out = tmp_path / 'toy.script'
    argv += [str(out), '--format', 'torchscript']
    pictures = sorted(map(str, trained[2].glob('*/*')))
    tool()([*argv, '--images', *pictures])
    assert 'on images' in capsys.readouterr().out
    run = deploy.read_back(out.read_bytes(), 'torchscript')
    blue_first = deploy.random_images(2, (32, 32))
    with torch.no_grad():
        samples = model.test_step(dict(inputs=list(blue_first)))
        found = run(blue_first.flip(1)).softmax(1)
    for sample, scores in zip(samples, found):
        assert torch.allclose(sample.pred_score, scores, atol=1e-5)
    extra = dict(classes='', preprocessing='')
    torch.jit.load(out, _extra_files=extra)
    assert not extra['classes']
    (step,) = json.loads(extra['preprocessing'])['steps']
    assert (step['op'], step['library']) == ('resize', 'opencv')

    tool()(argv)
    said = capsys.readouterr().out
    assert 'on images' not in said.replace('Not compared on images', '')
    assert 'Not compared on images of the test set: ' in said


@pytest.mark.parametrize(
    'change, words',
    [
        ("model = dict(type='lift_mm.MeanLogitTTA', module=model)", '--tta'),
        (
            "test_dataloader['dataset']['pipeline'].insert(1, "
            "dict(type='RandomFlip', prob=0.5))",
            'RandomFlip.*test_dataloader',
        ),
    ],
)
def test_refuses(trained, tmp_path, change, words):
    config, checkpoint, _ = trained
    (tmp_path / 'changed.py').write_text(f'{config.read_text()}\n{change}\n')
    out = tmp_path / 'model.pt2'
    argv = [str(tmp_path / 'changed.py'), str(checkpoint), str(out)]
    with pytest.raises(ValueError, match=words):
        tool()(argv)
    assert not out.exists()
