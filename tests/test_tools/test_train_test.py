"""The command-line tools, driven as a user drives them."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from test_tuners import tiny_models

from lift_mm.apis import tuned_state

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
TOY = Path(__file__).with_name('toy.py')
CPU = not torch.cuda.is_available()


def run(*command, **env):
    env = {'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **env}
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, 'PYTHONPATH': path, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def python(tool, *args, **kwargs):
    return run(sys.executable, TOOLS / tool, *args, **kwargs)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def merged(name, monkeypatch, config, *args):
    tool = load_tool(name)
    monkeypatch.setattr(sys, 'argv', [name, str(config), *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    args = tool.parse_args()
    return tool.merge_args(Config.fromfile(config), args)


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    for label in 'abc':
        (tmp_path / 'images' / label).mkdir(parents=True)
        for index in range(4):
            image = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            cv2.imwrite(f'{tmp_path}/images/{label}/{label}{index}.png', image)
    lines = [f'_base_ = {str(TOY)!r}']
    lines += [
        f'{split}_dataloader = '
        f'dict(dataset=dict(data_root={str(tmp_path / "images")!r}))'
        for split in ('train', 'val', 'test')
    ]
    path = tmp_path / 'recipe.py'
    path.write_text('\n'.join(lines))
    return path


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_every_flag_of_mmpretrain(tool, monkeypatch, capsys):
    theirs = Path(mmpretrain.__file__).parent / f'.mim/tools/{tool}.py'
    flags = set(re.findall(r"'(--[a-z-_]+)'", theirs.read_text()))
    assert len(flags) > 8
    with pytest.raises(SystemExit):
        merged(tool, monkeypatch, TOY, '--help')
    assert flags <= set(re.findall(r'--[a-z-_]+', capsys.readouterr().out))


def test_train_resume_test(config, tmp_path):
    work_dir = tmp_path / 'work'
    args = (config, '--work-dir', work_dir, '--amp')
    first = python('train.py', *args)
    assert 'lift_mm 0.1.0, shims: ' in first
    if CPU:
        assert 'runs in fp32' in first

    epochs = 'train_cfg.max_epochs=2'
    second = python('train.py', *args, '--resume', '--cfg-options', epochs)
    assert 'resumed epoch: 1' in second
    assert 'Epoch(train) [1]' not in second
    assert (work_dir / 'epoch_2.pth').is_file()

    out = tmp_path / 'metrics.json'
    third = python(
        'test.py',
        *args,
        work_dir / 'epoch_2.pth',
        '--out',
        out,
        '--out-item',
        'metrics',
        '--show-dir',
        tmp_path / 'drawn',
    )
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 12
    assert 'full runner checkpoint' in third
    assert 'accuracy/top1' in json.loads(out.read_text())


def test_untrained_with_tta(config, tmp_path):
    out = tmp_path / 'pred.pkl'
    args = ('--work-dir', tmp_path, '--tta', '--out', out)
    assert 'accuracy/top1' in python('test.py', config, *args)
    assert len(mmengine.load(out)) == 12


@pytest.mark.skipif(not CPU, reason='gloo is for machines without a GPU')
def test_two_processes_without_gpu(config, tmp_path):
    log = run(
        'bash',
        TOOLS / 'dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path / 'work',
        PORT=free_port(),
    )
    assert 'Epoch(val) [1][2/2]' in log
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        ('train', ['gone.py'], 'config file "gone.py" does not exist'),
        ('test', ['gone.py'], 'config file "gone.py" does not exist'),
        ('train', [TOY, '--resume', 'x.pth'], '--resume: "x.pth" does not'),
        ('test', [TOY, 'x.pth'], 'checkpoint "x.pth" does not exist'),
        ('test', [TOY, '--out-item', 'pred'], '--out-item needs --out'),
        ('test', [TOY, '--tta', '--show'], 'draw one view'),
    ],
)
def test_one_sentence_for_bad_arguments(
    monkeypatch, capsys, tool, args, message
):
    with pytest.raises(SystemExit) as stop:
        merged(tool, monkeypatch, *args)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count('\n') == 1


def test_train_arguments(config, monkeypatch):
    cfg = merged(
        'train',
        monkeypatch,
        config,
        '--no-validate',
        '--no-pin-memory',
        '--resume',
        '--cfg-options',
        'train_dataloader.pin_memory=True',
        'randomness.seed=7',
    )
    assert cfg.val_cfg is None and cfg.val_dataloader is None
    assert cfg.work_dir == './work_dirs/recipe'
    assert cfg.resume is True and cfg.load_from is None
    assert cfg.randomness.seed == 7
    # The command line's options are merged last.
    assert cfg.train_dataloader.pin_memory is True
    assert cfg.test_dataloader.pin_memory is False
    # What the config says wins over the tool's defaults.
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'


@pytest.mark.parametrize(
    'kind, ours', [('lift_mm.LongTailClassifier', True), (None, False)]
)
def test_compile_means_the_model(config, monkeypatch, kind, ours):
    options = ['--cfg-options', 'compile.backend=eager']
    options += [f'model.type={kind}'] if kind else []
    cfg = merged('train', monkeypatch, config, *options)
    cfg = load_tool('train').compile_model(cfg)
    assert ('compile' in cfg) is not ours  # of mmengine, for other models
    assert ('compile' in cfg.model) is ours
    place = cfg.model if ours else cfg
    assert place['compile'] == dict(backend='eager')


def test_auto_scale_lr_needs_a_base(config, monkeypatch):
    with pytest.raises(ValueError, match='base_batch_size'):
        merged('train', monkeypatch, config, '--auto-scale-lr')


def test_checkpoint_is_optional(config, monkeypatch):
    cfg = merged('test', monkeypatch, config, '--tta')
    assert cfg.get('load_from') is None
    assert cfg.model.type == 'lift_mm.MeanLogitTTA'
    assert cfg.model.module.type == 'ImageClassifier'
    *_, last = cfg.test_dataloader.dataset.pipeline
    assert last.type == 'TestTimeAug'
    assert [flip.prob for flip in last.transforms[0]] == [1, 0]

    # After a flag, too.
    cfg = merged('test', monkeypatch, config, '--tta', TOY)
    assert cfg.load_from == str(TOY)


@pytest.mark.parametrize('tta', [[], ['--tta']])
def test_merging_comes_after_the_hooks_of_the_config(config, monkeypatch, tta):
    cfg = merged('test', monkeypatch, config, '--merge', *tta)
    assert cfg.custom_hooks == [dict(type='lift_mm.MergeHook')]
    option = 'custom_hooks=[{"type": "lift_mm.ClassInfoHook"}]'
    config.write_text(f'{config.read_text()}\n{option}')
    cfg = merged('test', monkeypatch, config, '--merge', *tta)
    types = [hook.type for hook in cfg.custom_hooks]
    assert types == ['lift_mm.ClassInfoHook', 'lift_mm.MergeHook']
    cfg = merged('test', monkeypatch, config, *tta)
    assert len(cfg.custom_hooks) == 1


@pytest.fixture
def tuned(tmp_path):
    """Give a config with tuners, one of which stays, and a checkpoint."""
    names = tiny_models.NAMES
    tuners = [*tiny_models.ADAPTFORMER, dict(type='VPT', length=2, layers=1)]
    clip = tiny_models.clip_file(tmp_path)
    data = tiny_models.image_folder(tmp_path / 'images')
    torch.manual_seed(0)
    model = tiny_models.classifier(clip, names, tuners=tuners)
    meta = dict(dataset_meta=dict(classes=names, class_counts=[5, 3, 2]))
    checkpoint = tmp_path / 'tuned.pth'
    torch.save(dict(meta=meta, state_dict=tuned_state(model)), checkpoint)
    config = tiny_models.run_config(
        tmp_path / 'work',
        tiny_models.model_config(clip, tuners),
        data,
        test_dataloader=tiny_models.loader(
            tiny_models.dataset(data, train=False)
        ),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_cfg=dict(),
        tta_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=20, backend='pillow'),
            dict(type='lift_mm.MultiCrop', crop_size=16),
        ],
        log_level='INFO',
    )
    Config(config).dump(tmp_path / 'tuned.py')
    return tmp_path / 'tuned.py', checkpoint


def test_merged_scores_are_those_of_the_tuners(tuned, tmp_path):
    """Of one process, in two where there is no GPU."""
    out = tmp_path / 'metrics.json'
    args = ('--tta', '--out', out, '--out-item', 'metrics')
    python('test.py', *tuned, *args)
    expected = json.loads(out.read_text())
    assert 0 < expected['lt/acc'] < 100
    out.unlink()
    if CPU:
        command = ('bash', TOOLS / 'dist_test.sh', *tuned, 2, *args)
        log = run(*command, '--merge', PORT=free_port())
    else:
        log = python('test.py', *tuned, *args, '--merge')
    # Each rank merges, and one of them says what stays.
    assert log.count('Not merged: VPT stays in ') == 1
    found = json.loads(out.read_text())
    assert found == pytest.approx(expected, rel=1e-4)


def test_visualization_arguments(config, monkeypatch):
    args = ('--show-dir', 'drawn', '--interval', 3, '--wait-time', 0.5)
    cfg = merged('test', monkeypatch, config, *args)
    hook = cfg.default_hooks.visualization
    assert (hook.enable, hook.show, hook.out_dir) == (True, False, 'drawn')
    assert (hook.interval, hook.wait_time) == (3, 0.5)
