"""A published recipe, driven through the tools as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import miniature
import pytest
import torch
from miniature import REPO

from lift_mm.safe_load import load_file

CONFIG = 'configs/lift/vit-b16_imagenet-lt.py'
LAST = 'epoch_3.pth'


def environment() -> dict:
    paths = [str(REPO), os.environ.get('PYTHONPATH', '')]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
        OMP_NUM_THREADS='1',
        PYTHON=sys.executable,  # for the shell scripts
    )


def run(*command, ok: bool = True) -> str:
    """Run a tool to its end and give what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=REPO,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == ok, done.stdout[-4000:]
    return done.stdout


def python(*command, ok: bool = True) -> str:
    return run(sys.executable, *command, ok=ok)


def metrics(path: Path) -> dict:
    found = json.loads(path.read_text())
    return {k: v for k, v in found.items() if k.startswith('lt/')}


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    """Give the options that turn the recipe into a miniature."""
    root = tmp_path_factory.mktemp('miniature')
    files = miniature.clip(root / 'clip')
    tree = miniature.imagenet_lt(root / 'imagenet')
    chosen = miniature.options(files, tree)
    chosen += ['train_cfg.max_epochs=3', 'default_hooks.logger.interval=2']
    return chosen


@pytest.fixture(scope='module')
def trained(recipe, tmp_path_factory):
    """Train once, without interruption."""
    work = tmp_path_factory.mktemp('trained')
    log = python(
        'tools/train.py', CONFIG, '--work-dir', work, '--cfg-options', *recipe
    )
    return work, log


def test_training(trained):
    work, log = trained
    assert 'falls back' in log or 'fp32' in log  # AMP without a GPU
    assert log.count('Epoch(val)') == 3
    assert 'lt/acc_few' in log and 'lt/acc_many' not in log.split('\n')[-2]
    losses = [float(x.split()[0]) for x in log.split(' loss: ')[1:]]
    assert len(losses) == 12 and losses[-1] < losses[0]
    rates = [float(x.split()[0]) for x in log.split(' lr: ')[1:]]
    assert sorted(set(rates), reverse=True) == [0.01, 0.0075, 0.0025]
    # Whatever is saved can be told from the base and is small.
    checkpoint = load_file(work / LAST)
    keys = checkpoint['state_dict'].keys()
    assert {k.split('.')[0] for k in keys} == {
        'backbone',
        'head',
        'fingerprint',
    }
    assert all('adaptformer' in k for k in keys if k.startswith('backbone.'))
    learned = sum(v.nbytes for v in checkpoint['state_dict'].values())
    assert (work / LAST).stat().st_size < 2.1 * learned + 131072
    meta = checkpoint['meta']['dataset_meta']
    assert sum(meta['class_counts']) == 1060 and len(meta['classes']) == 1000


def test_killed_and_resumed_equals_uninterrupted(trained, recipe, tmp_path):
    command = [sys.executable, 'tools/train.py', CONFIG, '--work-dir']
    command += [tmp_path, '--resume', '--cfg-options', *recipe]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=REPO,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pointer = tmp_path / 'last_checkpoint'
    deadline = time.time() + 240
    try:
        while not (pointer.exists() and 'epoch_2' in pointer.read_text()):
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / LAST).exists()
    log = python(*command[1:])
    assert 'resumed epoch: 2' in log
    assert 'Encoding' not in log
    straight = load_file(trained[0] / LAST)
    resumed = load_file(tmp_path / LAST)
    for part in ('state_dict', 'optimizer'):
        flat = [dict(_flatten(c[part])) for c in (straight, resumed)]
        assert flat[0].keys() == flat[1].keys()
        for key, value in flat[0].items():
            assert torch.equal(value, flat[1][key]), (part, key)


def _flatten(tree, prefix=''):
    if isinstance(tree, torch.Tensor):
        yield prefix, tree
    elif isinstance(tree, (dict, list, tuple)):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in pairs:
            yield from _flatten(value, f'{prefix}.{key}')


def test_test_tool_and_ensembling(trained, recipe, tmp_path):
    work = trained[0]
    command = ['tools/test.py', CONFIG, work / LAST, '--work-dir', tmp_path]
    out = tmp_path / 'plain.json'
    python(
        *command,
        '--out',
        out,
        '--out-item',
        'metrics',
        '--cfg-options',
        *recipe,
    )
    plain = metrics(out)
    assert {'lt/acc', 'lt/acc_mean', 'lt/acc_few', 'lt/ece'} <= plain.keys()

    out = tmp_path / 'tta.json'
    python(
        *command,
        '--tta',
        '--out',
        out,
        '--out-item',
        'metrics',
        '--cfg-options',
        *recipe,
    )
    assert metrics(out).keys() == plain.keys()

    # Two processes give the metric of one; 101 images do not divide.
    out = tmp_path / 'two.json'
    run(
        'bash',
        'tools/dist_test.sh',
        CONFIG,
        work / LAST,
        2,
        '--work-dir',
        tmp_path,
        '--out',
        out,
        '--out-item',
        'metrics',
        '--cfg-options',
        *recipe,
    )
    assert metrics(out) == plain


def test_two_processes_learn_the_same_weights(recipe, tmp_path):
    worker = REPO / 'tests' / 'dist_worker.py'
    python(
        '-m',
        'torch.distributed.run',
        '--nproc_per_node=2',
        '--master_port=0',
        '--rdzv_backend=c10d',
        '--rdzv_endpoint=localhost:0',
        worker,
        REPO / CONFIG,
        tmp_path,
        *recipe,
        'train_cfg.max_epochs=1',
    )
    first, second = (
        torch.load(tmp_path / f'rank{rank}.pt', weights_only=True)
        for rank in (0, 1)
    )
    assert first['start'].keys() == second['start'].keys()
    for moment in ('start', 'end'):
        for key, value in first[moment].items():
            assert torch.equal(value, second[moment][key]), (moment, key)
    moved = [
        key
        for key, value in first['start'].items()
        if not torch.equal(value, first['end'][key])
    ]
    assert moved and all('adaptformer' in k or 'head' in k for k in moved)
    assert len(list(tmp_path.glob('epoch_*.pth'))) == 1


def test_use_without_importing_the_package(trained, recipe, tmp_path):
    """``get_model`` and the inferencer of mmpretrain, in a plain script."""
    script = tmp_path / 'plain_user.py'
    image = tmp_path / 'photo.png'
    miniature.photo(image, 3)
    config = trained[0] / 'vit-b16_imagenet-lt.py'
    script.write_text(
        'import sys, json\n'
        'from mmpretrain import ImageClassificationInferencer, get_model\n'
        'config, checkpoint, image = sys.argv[1:]\n'
        'model = get_model(config, pretrained=checkpoint)\n'
        'answer = ImageClassificationInferencer(model)(image)[0]\n'
        'other = ImageClassificationInferencer(\n'
        '    config, pretrained=checkpoint)(image)[0]\n'
        "assert answer['pred_class'] == other['pred_class']\n"
        "print('ANSWER', json.dumps([answer['pred_label'],\n"
        "    answer['pred_class'], float(answer['pred_score'])]))\n"
    )
    log = python(script, config, trained[0] / LAST, image)
    label, name, score = json.loads(log.split('ANSWER ')[1].splitlines()[0])
    names = load_file(trained[0] / LAST)['meta']['dataset_meta']['classes']
    assert names[label] == name and 0 < score < 1


def test_own_folder_as_in_the_readme(recipe, tmp_path):
    """The five lines of the README, on photos without any split."""
    text = (REPO / 'README.md').read_text()
    block = text.split('(`my_photos.py`):')[1].split('```')[1]
    lines = block.removeprefix('python\n').strip()
    assert len(lines.splitlines()) == 5
    photos = tmp_path / 'photos'
    for label, name in enumerate(['fox', 'red_panda', 'owl', 'cat', 'elk']):
        for number in range(6 + 2 * label):
            miniature.photo(photos / name / f'{number} a.png', label)
    config = tmp_path / 'my_photos.py'
    lines = lines.replace("'configs/", f"'{REPO}/configs/")
    lines = lines.replace("'photos'", f"'{photos}'")
    config.write_text(lines + '\n')
    options = [o for o in recipe if o.startswith('model.')]
    log = python(
        'tools/train.py',
        config,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        *options,
    )
    assert 'Epoch(val) [1]' in log and 'lt/acc_few' in log
    meta = load_file(tmp_path / 'work' / 'epoch_1.pth')['meta']
    classes = meta['dataset_meta']['classes']
    assert tuple(classes) == ('cat', 'elk', 'fox', 'owl', 'red panda')
