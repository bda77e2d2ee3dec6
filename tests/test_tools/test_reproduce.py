"""A table of miniatures, run as a user runs it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import miniature
import pytest
from miniature import REPO

from lift_mm.reproduce.runs import Run
from lift_mm.reproduce.tables import Row

TOOL = REPO / 'tools' / 'reproduce.py'


def command(*args) -> tuple[list, dict]:
    words = [sys.executable, TOOL, *args]
    path = os.pathsep.join([str(REPO), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1')
    return [str(word) for word in words], env


def run(*args, code: int = 0) -> str:
    words, env = command(*args)
    done = subprocess.run(
        words,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy')
    clip = miniature.clip(root / 'clip')
    for label, name in enumerate(['cat', 'elk', 'owl']):
        for number in range(8 + 4 * label):
            path = root / 'photos' / name / f'{number}.png'
            miniature.photo(path, label)
    path = root / 'toy.py'
    data = dict(data_root=str(root / 'photos'), val_fraction=0.25)
    loader = dict(
        batch_size=4, num_workers=0, persistent_workers=False, dataset=data
    )
    path.write_text(
        f'_base_ = {str(REPO / "configs/lift/vit-b16_folder.py")!r}\n'
        f'model = dict(backbone=dict(backbone=dict(arch={clip["arch"]!r}, '
        f'pretrained={clip["pretrained"]!r})), '
        f'head=dict(num_classes=3, in_channels={clip["width"]}))\n'
        f'train_dataloader = dict({_keys(loader)})\n'
        f'val_dataloader = dict({_keys(loader)})\n'
        'test_dataloader = val_dataloader\n'
        'train_cfg = dict(max_epochs=2, val_interval=100)\n'
    )
    return path


def _keys(settings: dict) -> str:
    return ', '.join(f'{key}={value!r}' for key, value in settings.items())


def write_table(folder: Path, rows: list) -> Path:
    path = folder / 'toy.json'
    path.write_text(json.dumps(dict(title='Toy', rows=rows)))
    return path


def test_table(config, tmp_path):
    """Failures do not stop the rest; what is finished is not run again."""
    toy = str(config)
    table = write_table(
        tmp_path,
        [
            dict(name='gone', config='gone.py'),
            dict(name='bad', config=toy, options=['model.head.num_classes=7']),
            dict(
                name='bad + TTE',
                config=toy,
                tta=True,
                options=['model.head.num_classes=7'],
            ),
            dict(name='start', config=toy, trains=False),
            dict(name='toy', config=toy, published=dict(acc=1.0), source='x'),
            dict(name='toy + TTE', config=toy, tta=True),
            dict(
                name='no data',
                config=toy,
                options=['train_dataloader.dataset.data_root=/no/photos'],
            ),
        ],
    )
    work = tmp_path / 'work'
    args = (table, '--seeds', 3, '--work-dir', work)
    first = run(*args, code=1)
    failed = [x for x in first.splitlines() if x.startswith('FAILED')]
    assert [line.split(':')[0] for line in failed] == [
        'FAILED gone',
        'FAILED bad, seed 3',
        'FAILED bad + TTE, seed 3',
        'FAILED no data, seed 3',
    ]
    assert 'num_classes=7' in failed[1] and '/no/photos' in failed[3]
    # Rows share a training, so one that failed is not begun again.
    assert failed[2].endswith(': its training failed, see above')

    lines = list(csv.DictReader((work / 'toy.csv').open()))
    overall = {x['row']: x for x in lines if x['measure'] == 'lt/acc'}
    assert {k: int(v['runs']) for k, v in overall.items()} == {
        'gone': 0,
        'bad': 0,
        'bad + TTE': 0,
        'start': 1,
        'toy': 1,
        'toy + TTE': 1,
        'no data': 0,
    }
    assert overall['toy']['verdict'] == 'outside'
    assert '(1.0, outside)' in (work / 'toy.md').read_text()
    assert not list(work.rglob('*.part'))

    (found,) = work.rglob('result-tta.json')
    result = json.loads(found.read_text())
    assert result['seed'] == 3 and result['tta'] is True
    assert result['config_hash'] in found.parts[-3]
    assert result['learned_params'] > 0 and result['head_params'] == 192
    assert {'lift_mm', 'torch', 'mmpretrain'} <= result['versions'].keys()
    assert float(overall['toy + TTE']['mean']) == result['metrics']['lt/acc']
    # Rows that differ in the test share a training.
    assert len(list(work.rglob('epoch_2.pth'))) == 1
    plain = json.loads(found.with_name('result-plain.json').read_text())
    assert plain['train_seconds'] > 0 and result['train_seconds'] is None
    assert overall['start']['mean'] != overall['toy']['mean']

    times = {path: path.stat().st_mtime_ns for path in work.rglob('*.log')}
    rows = json.loads(table.read_text())['rows'][3:6]
    write_table(tmp_path, rows)
    second = run(*args)
    assert second.count(': finished') == 3
    assert times == {p: p.stat().st_mtime_ns for p in work.rglob('*.log')}

    # Another config is another run.
    changed = run(*args, '--dry-run', '--cfg-options', 'model.head.scale=20')
    assert changed.count(': new') == 3
    assert changed.count('train.py') == 1


def test_killed_and_resumed(config, tmp_path):
    table = write_table(tmp_path, [dict(name='toy', config=str(config))])
    work = tmp_path / 'work'
    args = (table, '--seeds', 0, '--work-dir', work)
    args = (*args, '--cfg-options', 'train_cfg.max_epochs=25')
    words, env = command(*args)
    process = subprocess.Popen(
        words,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 240
    try:
        while not list(work.rglob('last_checkpoint')):
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.02)
        process.terminate()
        assert process.wait(60) == 143
        # Its training has gone with it.
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert not list(work.rglob('result-*.json'))
    assert 'toy, seed 0: cut off' in run(*args, '--dry-run')
    run(*args)
    (log,) = work.rglob('train.log')
    assert 'resumed epoch' in log.read_text()
    (found,) = work.rglob('result-plain.json')
    # The time of a resumed training is unknown.
    assert json.loads(found.read_text())['train_seconds'] is None


def test_hash(config, tmp_path):
    def made(**row):
        return Run(Row('a', str(config), **row), 0, REPO, tmp_path)

    plain = made()
    assert made(tta=True).folder == plain.folder
    assert made(options=('randomness.seed=5',)).hash == plain.hash
    assert made(options=('model.head.scale=20',)).hash != plain.hash
    text = config.read_text()
    copy = config.with_name('copy.py')
    copy.write_text(text)
    copied = Run(Row('a', str(copy)), 0, REPO, tmp_path)
    assert copied.hash == plain.hash and copied.folder != plain.folder


def test_several_gpus_share_the_batch(config, tmp_path):
    def made(gpus):
        return Run(Row('a', str(config)), 0, REPO, tmp_path, gpus)

    two = made(2)
    assert two.hash == made(1).hash
    train, test = two.commands().values()
    assert train[:2] == ['bash', str(REPO / 'tools' / 'dist_train.sh')]
    assert train[3] == test[4] == '2'
    assert 'train_dataloader.batch_size=2' in train
    with pytest.raises(ValueError, match='batch of 4 .* by 3 '):
        made(3)


def test_another_config_for_the_test(config, tmp_path):
    """One training, tested in two ways, is done once."""
    other = config.with_name('crops.py')
    other.write_text("_base_ = 'toy.py'\ntta_pipeline = []\n")

    def made(**row):
        return Run(Row('a', str(config), **row), 0, REPO, tmp_path)

    plain, crops = made(), made(test_config=str(other), tta=True)
    assert plain.folder == crops.folder
    assert plain.commands()['train'] == crops.commands()['train']
    assert crops.commands()['test'][2] == str(other)
    first = crops.result_file
    assert first != made(tta=True).result_file != plain.result_file
    other.write_text("_base_ = 'toy.py'\ntta_pipeline = [1]\n")
    assert made(test_config=str(other), tta=True).result_file != first


@pytest.mark.parametrize(
    'args, message',
    [
        ((), 'give a table, or --list'),
        (('tab-5',), '"tab-5" is neither a file nor a table; tables: demo'),
        (('demo', '--gpus', '0'), '--gpus 0 is below 1'),
        (('demo', '--seeds', '1', '1'), '--seeds [1, 1] must differ'),
    ],
)
def test_one_sentence_for_bad_arguments(args, message):
    shown = run(*args, code=2)
    assert message in shown and shown.count('\n') == 1


def test_list():
    shown = run('imagenet-lt', '--list')
    assert 'configs/lift/vit-b16_imagenet-lt.py  (LIFT; LIFT + TTE)' in shown
    assert 'data/imagenet/ImageNet_LT_train.txt' in shown
