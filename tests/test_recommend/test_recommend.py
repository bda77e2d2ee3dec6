"""From a folder or a list to a config that trains."""

import subprocess
import sys

import miniature
import pytest
from miniature import REPO
from mmengine.config import Config
from mmengine.runner import Runner

from lift_mm.recommend import recommend
from lift_mm.recommend.__main__ import main

NAMES = ['fox', 'owl', 'red_panda']
SIZES = [2, 4, 9]


def photos(root, sizes=SIZES, names=NAMES):
    for label, (name, size) in enumerate(zip(names, sizes)):
        for number in range(size):
            path = root / name / f'{number} a.png'
            miniature.photo(path, label, size=(160, 120))
    return root


def split_folder(root):
    photos(root / 'train')
    photos(root / 'val', [1, 1, 1])
    photos(root / 'test', [2, 2, 2])
    return root


def training_only(root):
    photos(root / 'train')
    (root / 'class_names.txt').write_text('a fox\nan owl\na red panda\n')
    return root


def with_test(root):
    photos(root / 'train')
    photos(root / 'test', [1, 2, 3])
    return root


def lists(root, splits=('train', 'val')):
    photos(root)
    (root / 'class_names.txt').write_text('fox\nowl\nred panda\n')
    lines = [
        f'{name}/{number} a.png {label}'
        for label, (name, size) in enumerate(zip(NAMES, SIZES))
        for number in range(size)
    ]
    for split in splits:
        (root / f'my_{split}.txt').write_text('\n'.join(lines))
    return root / f'my_{splits[0]}.txt'


def lone_list(root):
    return lists(root, ['everything'])


# How the images lie; training counts; splits of val and test.
LAYOUTS = [
    (photos, [1, 3, 7], 'val', 'val'),
    (split_folder, SIZES, 'val', 'test'),
    (training_only, [1, 3, 7], 'val', 'val'),
    (with_test, SIZES, 'test', 'test'),
    (lists, SIZES, 'my_val.txt', 'my_val.txt'),
    (lone_list, SIZES, None, None),
]


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return miniature.clip(tmp_path_factory.mktemp('clip'))


@pytest.mark.parametrize(
    'layout, counts, val, test', LAYOUTS, ids=[x[0].__name__ for x in LAYOUTS]
)
def test_config_trains(layout, counts, val, test, tmp_path, clip):
    data = layout(tmp_path / 'data')
    found = recommend(str(data), memory=8)
    assert list(found.data.counts) == counts and found.data.side == 120
    text = found.config()
    assert all(len(line) <= 79 for line in text.splitlines() if '#' in line)
    path = tmp_path / 'mine.py'
    path.write_text(text)

    cfg = Config.fromfile(path)
    for split, expected in dict(val=val, test=test).items():
        loader = cfg.get(f'{split}_dataloader')
        if expected is None:
            assert loader is None
            continue
        chosen = loader.dataset
        assert chosen.get('ann_file', chosen.get('split')) == expected
    cfg.model.backbone.backbone.update(
        arch=clip['arch'], pretrained=clip['pretrained']
    )
    cfg.model.head.in_channels = clip['width']
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None:
            loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = -(-sum(counts) // 2)
    cfg.train_cfg.max_epochs = 1
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = layout.__name__
    cfg.optim_wrapper.type = 'OptimWrapper'
    runner = Runner.from_cfg(cfg)
    model = runner.train()
    assert runner.iter == 2
    names = runner.train_dataloader.dataset.metainfo['classes']
    article = (layout is training_only) * ['a ', 'an ', 'a ']
    plain = ['fox', 'owl', 'red panda']
    assert list(names) == [
        start + name for start, name in zip(article or [''] * 3, plain)
    ]
    assert model.head.num_classes == 3
    assert model.backbone.layers[0].adaptformer.down.out_features == 4
    if val is not None:
        assert 'val/lt/acc' in runner.message_hub.log_scalars


def test_every_choice_has_its_reason(tmp_path):
    data = photos(tmp_path, [40, 40], ['n001', 'n002'])
    found = recommend(str(data), memory=3)
    text = found.config()
    flat = ' '.join(line.strip(' #') for line in text.splitlines())
    flat = ' '.join(flat.split())
    for choice in (
        found.hidden_dims,
        found.loss,
        found.batch,
        found.fitting,
        found.epochs,
    ):
        assert choice.reason in flat
    assert 'n001, n002' in flat
    cfg_lines = text.splitlines()
    assert "        loss=dict(_delete_=True, type='CrossEntropyLoss')," in (
        cfg_lines
    )
    assert found.fitting.value == 8
    assert 'optim_wrapper = dict(accumulative_counts=4)' in cfg_lines
    path = tmp_path / 'mine.py'
    path.write_text(text)
    cfg = Config.fromfile(path)
    assert cfg.model.head.loss == dict(type='CrossEntropyLoss')
    assert cfg.optim_wrapper.accumulative_counts == 4
    assert cfg.optim_wrapper.optimizer.lr == 0.01


@pytest.mark.parametrize(
    'make, memory, message',
    [
        (lambda root: root / 'gone', None, 'neither a folder nor a list'),
        (lambda root: photos(root / 'val').parent, None, 'no folder "train"'),
        (photos, 0.0, 'not positive'),
        (lambda root: lists(root).with_name('class_names.txt'), None, 'line'),
    ],
)
def test_refusals(make, memory, message, tmp_path, capsys):
    data = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        recommend(str(data), memory)
    args = ['--data', str(data)]
    args += [] if memory is None else ['--memory', str(memory)]
    out = tmp_path / 'mine.py'
    assert main([*args, '--out', str(out)]) == 1
    assert message in capsys.readouterr().err and not out.exists()


def test_unreadable_images_are_named(tmp_path):
    data = photos(tmp_path)
    (data / 'owl' / '0 a.png').write_bytes(b'')
    (hint,) = [h for h in recommend(str(data), 8).hints if 'read' in h]
    assert '0 a.png' in hint and 'skip_broken' in hint


def test_command(tmp_path):
    data = photos(tmp_path / 'photos')
    words = [sys.executable, '-m', 'lift_mm.recommend', '--data', data]
    done = subprocess.run(
        [*map(str, words), '--memory', '24'],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == recommend(str(data), 24).config()


def test_written_whole(tmp_path, capsys):
    data = photos(tmp_path / 'photos')
    out = tmp_path / 'mine.py'
    assert main(['--data', str(data), '--out', str(out)]) == 0
    assert out.read_text() == recommend(str(data)).config()
    assert str(out) in capsys.readouterr().out
    assert not list(tmp_path.glob('*.part'))
