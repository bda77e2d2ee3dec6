"""make_longtail.py turns any folder into lists that train."""

import importlib.util
import json
import os

import pytest
from miniature import REPO, photo
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image

from lift_mm.datasets import LongTailFolder, LongTailList

SIZES = {'sea_gull': 20, 'ant': 10, 'Äpfel rot': 30, '日本': 12}
NAMES = ('ant', 'sea gull', 'Äpfel rot', '日本')  # in label order


def load_tool():
    path = REPO / 'tools/dataset_converters/make_longtail.py'
    spec = importlib.util.spec_from_file_location('make_longtail', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def write_classes(folder, sizes):
    for name, size in sizes.items():
        for number in range(size):
            # The tool looks at names only.
            path = folder / name / f'no {number}.JPG'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture
def flat(tmp_path):
    write_classes(tmp_path / 'photos', SIZES)
    (tmp_path / 'photos/ant/notes.txt').write_text('x')
    return tmp_path / 'photos'


@pytest.fixture
def nested(tmp_path):
    root = tmp_path / 'splits'
    write_classes(root / 'train', SIZES)
    write_classes(root / 'val', dict.fromkeys(SIZES, 3))
    write_classes(root / 'test', {'ant': 2, '日本': 5})
    return root


def run(*args):
    tool.main([str(arg) for arg in args])


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read(out, split, root):
    return LongTailList(
        str(out / f'{split}.txt'), str(root), test_mode=split != 'train'
    )


def images(out, split):
    return (out / f'{split}.txt').read_text().splitlines()


def test_flat_folder(flat, tmp_path):
    out = tmp_path / 'lists'
    run(flat, '--out', out, '--ratio', 10)
    train, val = read(out, 'train', flat), read(out, 'val', flat)
    assert train.metainfo['classes'] == val.metainfo['classes'] == NAMES
    # 0.2 of the smallest class, ant, are 2 of each class; 28 are left of
    # the largest: 28, 28 * 10 ** (-1 / 3) ...
    assert val.metainfo['class_counts'] == [2, 2, 2, 2]
    assert train.metainfo['class_counts'] == [2, 12, 28, 6]
    assert not set(images(out, 'train')) & set(images(out, 'val'))
    assert set(files(out)) == {
        'train.txt',
        'val.txt',
        'class_names.txt',
        'counts.png',
        'settings.json',
    }
    settings = json.loads((out / 'settings.json').read_text())
    assert settings['ratio'] == 10 and settings['val_fraction'] == 0.2
    assert settings['class_counts'] == dict(
        train=[2, 12, 28, 6], val=[2, 2, 2, 2]
    )
    with Image.open(out / 'counts.png') as picture:
        assert picture.width > 800


def test_splits_are_untouched(nested, tmp_path):
    out = tmp_path / 'lists'
    run(nested, '--out', out, '--ratio', 10)
    assert read(out, 'train', nested).metainfo['class_counts'] == [
        3,
        13,
        30,
        6,
    ]
    for split, counts in (('val', [3, 3, 3, 3]), ('test', [2, 0, 0, 5])):
        listed = read(out, split, nested)
        assert listed.metainfo['class_counts'] == counts
        whole = LongTailFolder(str(nested), split, test_mode=True)
        assert [listed[i]['img_path'] for i in range(len(listed))] == [
            whole[i]['img_path'] for i in range(len(whole))
        ]


def test_no_validation_folder(tmp_path):
    root, out = tmp_path / 'root', tmp_path / 'lists'
    write_classes(root / 'train', dict(a=10, b=10))
    write_classes(root / 'test', dict(a=4, b=4))
    run(root, '--out', out, '--ratio', 2, '--val-fraction', 0.3)
    assert read(out, 'train', root).metainfo['class_counts'] == [7, 3]
    assert read(out, 'val', root).metainfo['class_counts'] == [3, 3]
    assert read(out, 'test', root).metainfo['class_counts'] == [4, 4]
    assert all(line.startswith('train/') for line in images(out, 'val'))


def test_the_same_options_give_the_same_files(flat, tmp_path):
    for name in 'ab':
        run(flat, '--out', tmp_path / name, '--ratio', 5)
    assert files(tmp_path / 'a') == files(tmp_path / 'b')
    run(flat, '--out', tmp_path / 'c', '--ratio', 5, '--seed', 1)
    run(flat, '--out', tmp_path / 'd', '--ratio', 2)
    a, c, d = (images(tmp_path / name, 'train') for name in 'acd')
    assert a != c and len(a) == len(c)
    assert set(a) < set(d)  # a milder tail keeps them and more
    for name in 'cd':
        assert images(tmp_path / name, 'val') == images(tmp_path / 'a', 'val')


@pytest.mark.parametrize(
    'options, counts',
    [
        (['--shape', 'step', '--ratio', 4], [7, 18, 28, 7]),
        (['--shape', 'step', '--ratio', 4, '--mu', 0.25], [7, 18, 28, 10]),
        (['--shape', 'pareto', '--ratio', 4], [7, 16, 28, 10]),
        (['--order', 'name', '--ratio', 4], [8, 17, 11, 7]),
        # Seed 0 makes the order 2, 3, 1, 0; label 3 has 10 for 17.
        (['--order', 'random', '--ratio', 4], [7, 11, 28, 10]),
        (['--largest', 8, '--ratio', 2], [4, 6, 8, 5]),
        (['--ratio', 1], [8, 18, 28, 10]),
    ],
    ids=lambda value: ' '.join(map(str, value)),
)
def test_options(flat, tmp_path, options, counts):
    run(flat, '--out', tmp_path / 'lists', *options)
    listed = read(tmp_path / 'lists', 'train', flat)
    assert listed.metainfo['class_counts'] == counts


def test_what_it_says(flat, tmp_path, capsys):
    run(flat, '--ratio', 1, '--dry-run')
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == (
        'train: 64 images in 4 classes of 28 to 8, 0 many, 1 medium, 3 '
        'few-shot.'
    )
    assert shown[1] == 'val: 8 images, 2 to 2 of a class.'
    assert shown[2].startswith('3 of 4 classes have too few images and keep')
    assert "'ant': 8 where 28 were asked for" in shown[2]
    assert [line.split()[:3] for line in shown[3:]] == [
        ['train', 'val', 'class'],
        ['8', '2', 'ant'],
        ['18', '2', 'sea'],
        ['28', '2', 'Äpfel'],
        ['10', '2', '日本'],
    ]
    assert list(tmp_path.iterdir()) == [flat]


@pytest.mark.parametrize('tested', [False, True])
def test_printed_config_trains(tmp_path, capsys, monkeypatch, tested):
    for split in ('train', 'test') if tested else ('',):
        for seed, name in enumerate(('ant', "o'bee")):
            for number in range(6):
                photo(tmp_path / 'root' / split / name / f'{number}.png', seed)
    monkeypatch.chdir(tmp_path)
    run('root', '--out', 'lists', '--ratio', 2)
    text = capsys.readouterr().out
    text = text[text.index('_base_') :]
    assert len(text.splitlines()) == 5 + tested
    # It holds wherever it is saved.
    path = tmp_path / 'elsewhere' / 'recipe.py'
    path.parent.mkdir()
    path.write_text(text)
    cfg = Config.fromfile(path)
    assert cfg.model.head.num_classes == 2
    assert cfg.model.backbone.backbone.type == 'lift_mm.CLIPViT'
    sizes = dict(train=7, val=2, test=12 if tested else 2)
    for split, size in sizes.items():
        found = cfg[f'{split}_dataloader'].dataset
        dataset = DATASETS.build({'_scope_': 'mmpretrain', **found})
        assert len(dataset) == size
        assert dataset.test_mode == (split != 'train')
        assert dataset.metainfo['classes'] == ('ant', "o'bee")
        assert dataset[0]['inputs'].shape == (3, 224, 224)


def spoil_file(flat, out):
    return [flat / 'ant/no 0.JPG']


def spoil_empty(flat, out):
    (flat / 'zebra').mkdir()


def spoil_single(flat, out):
    write_classes(flat, {'zebra': 1})


def spoil_out(flat, out):
    out.mkdir()
    (out / 'train.txt').write_text('mine')


def spoil_stale(flat, out):
    out.mkdir()
    (out / 'test.txt').write_text('mine')
    return ['--force']


def spoil_out_file(flat, out):
    out.write_text('mine')


def spoil_line_break(flat, out):
    write_classes(flat, {'two\nlines': 5})


def spoil_coding(flat, out):
    (flat / 'ant' / os.fsdecode(b'\xe4.jpg')).touch()


MISTAKES = [
    (['--ratio', 0.5], 'ratio is 0.5.*`--ratio`'),
    (['--ratio', 'nan'], 'ratio is nan'),
    (['--val-fraction', 0], 'val_fraction=0.0 is no share'),
    (['--mu', 0.5], "--mu 0.5 is .* the shape is 'exponential'"),
    (['--shape', 'step', '--mu', 2], 'share of small classes is 2'),
    (['--largest', 0], '--largest 0 leaves no image'),
    (['--out', '{flat}/lists'], 'lies in FOLDER'),
    (spoil_file, 'no folder .*but a file of that name'),
    (spoil_empty, "no training image of 'zebra'"),
    (spoil_single, "'zebra' has one image and can give none"),
    (spoil_out, 'has train.txt already.*--force'),
    (spoil_stale, 'has a test.txt, but .* no test images'),
    (spoil_out_file, 'is a file; choose a folder'),
    (spoil_line_break, 'cannot stand in a list'),
    (spoil_coding, 'cannot stand in a list.*UTF-8'),
]


@pytest.mark.parametrize('mistake, match', MISTAKES)
def test_mistakes(flat, tmp_path, mistake, match):
    out = tmp_path / 'lists'
    folder, more = flat, mistake
    if callable(mistake):
        more = mistake(flat, out) or []
        if more and more[0] != '--force':
            folder, more = more[0], []
    before = sorted(tmp_path.rglob('*'))
    more = [str(option).format(flat=flat) for option in more]
    # The tail has room for every image, so that none escapes the check.
    with pytest.raises(SystemExit, match=match) as stop:
        run(folder, '--out', out, '--ratio', 1, *more)
    text = str(stop.value)
    assert text.startswith('error: ') and '\n' not in text
    assert sorted(tmp_path.rglob('*')) == before


def test_validation_share_of_a_split_folder(nested, tmp_path):
    with pytest.raises(SystemExit, match='--val-fraction 0.1 is for folders'):
        run(nested, '--out', tmp_path / 'lists', '--val-fraction', 0.1)


def test_force_and_a_full_disk(flat, tmp_path, monkeypatch):
    out = tmp_path / 'lists'
    run(flat, '--out', out)
    first = files(out)
    with monkeypatch.context() as patch:
        patch.setattr(tool.Path, 'write_bytes', full_after(3))
        with pytest.raises(OSError, match='no space'):
            run(flat, '--out', out, '--ratio', 3, '--force')
    assert files(out) == first
    run(flat, '--out', out, '--ratio', 3, '--force')
    assert files(out)['train.txt'] != first['train.txt']


def full_after(writes):
    original, done = tool.Path.write_bytes, []

    def write(path, data):
        done.append(path)
        if len(done) > writes:
            raise OSError('no space left on device')
        return original(path, data)

    return write
