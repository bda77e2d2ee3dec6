"""Preparing a benchmark, on miniatures of what people download."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from miniature import REPO
from mmengine.config import Config
from PIL import Image
from tiny_benchmarks import annotations, lay, save, taxonomy, tiny

from lift_mm.datasets import ImageNetLT, INaturalist2018, PlacesLT
from lift_mm.datasets.published import BENCHMARKS
from lift_mm.registry import DATASETS

PATH = REPO / 'tools' / 'dataset_converters' / 'prepare.py'
KAGGLE = 'ILSVRC/Data/CLS-LOC'


def load_tool(path=PATH):
    spec = importlib.util.spec_from_file_location('tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()
prepare = TOOL.prepare


def state(root):
    """Give all files below a folder with content and time."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize(
    'name, forms',
    [
        ('imagenet-lt', {}),
        ('imagenet-lt', dict(val='val/{name}')),
        (
            'imagenet-lt',
            dict(
                train=f'{KAGGLE}/train/{{folder}}/{{name}}',
                val=f'{KAGGLE}/val/{{folder}}/{{name}}',
            ),
        ),
        (
            'imagenet-lt',
            dict(
                train=f'{KAGGLE}/train/{{folder}}/{{name}}',
                val=f'{KAGGLE}/val/{{name}}',
            ),
        ),
        ('places-lt', {}),
        (
            'places-lt',
            dict(
                train='places365_standard/train/{folder}/{name}',
                val='places365_standard/val/{folder}/{name}',
            ),
        ),
        ('inaturalist2018', {}),
    ],
    ids='plain flat-val kaggle kaggle-flat easy easy-inside inat'.split(),
)
def test_layouts(tmp_path, capsys, name, forms, full):
    benchmark, texts = tiny(name)
    root = tmp_path / 'my [/root]'
    spelled = lay(root, benchmark, texts, forms)
    lists = save(tmp_path / benchmark.stem, texts)
    (lists / 'categories.json').write_text(json.dumps(taxonomy()))
    before = state(root)
    assert prepare(benchmark, root, lists, full=full, dry_run=True) == 0
    assert state(root) == before
    assert f'Would write {root}/{benchmark.stem}' in capsys.readouterr().out

    assert prepare(benchmark, root, lists, full=full) == 0
    out = capsys.readouterr().out
    for file, text in spelled.items():
        assert (root / file).read_text() == text
        assert f'Wrote {root / file}' in out
    assert '1/1/1' in out and benchmark.config in out
    assert (root / 'categories.json').exists() == bool(benchmark.taxonomy)

    done = state(root)
    assert prepare(benchmark, root, full=full) == 0  # reads its own lists
    assert prepare(benchmark, root, lists, full=full) == 0
    assert state(root) == done
    assert capsys.readouterr().out.count('All lists are there.') == 2


@pytest.mark.parametrize('style', ['{0}/{1}.txt', '{0}_{1}.txt'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_styles_of_lists(tmp_path, capsys, style, end):
    benchmark, texts = tiny('places-lt')
    root, lists = tmp_path / 'root', tmp_path / 'datasets'
    lay(root, benchmark, texts)
    for facts in benchmark.lists:
        path = lists / style.format(benchmark.stem, facts.split)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = texts[facts.file].replace('\n', end)
        path.write_bytes(text.encode())
    assert prepare(benchmark, root, lists) == 0
    noted = '(Windows line ends)' in capsys.readouterr().out
    assert noted == (end != '\n')
    assert (root / 'Places_LT_val.txt').read_bytes() == (
        texts['Places_LT_val.txt'].encode()
    )


def test_lists_of_oltr(tmp_path):
    benchmark, texts = tiny('places-lt')
    root, lists = tmp_path / 'root', tmp_path / 'lists'
    lay(root, benchmark, texts)
    lists.mkdir()
    for file, text in texts.items():
        folder = 'val_256/' if 'test' in file else 'data_256'
        for name in ('arena-hockey', 'bar', 'zen_garden'):
            tree = f'/{name[0]}/{name.replace("-", "/")}/'
            old = f'{text.split("/")[0]}/{name}/'
            text = text.replace(
                old, folder if folder[-1] == '/' else folder + tree
            )
        assert text != texts[file]
        (lists / file).write_text(text)
    assert (
        'data_256/a/arena/hockey/'
        in (lists / 'Places_LT_train.txt').read_text()
    )
    assert prepare(benchmark, root, lists) == 0
    for file, text in texts.items():
        assert (root / file).read_text() == text


def test_the_dataset_takes_what_is_written(tmp_path):
    benchmark, texts = tiny('places-lt')
    root = tmp_path / 'root'
    lay(
        root,
        benchmark,
        texts,
        dict(val='places365_standard/val/{folder}/{name}'),
    )
    out = tmp_path / 'out'
    assert prepare(benchmark, root, save(tmp_path / 'l', texts), out) == 0
    assert not list(root.glob('*.txt'))
    dataset = PlacesLT(
        str(root),
        ann_file=str(out / 'Places_LT_test.txt'),
        classes=['zen garden', 'arena-hockey', 'bar'],
        check_files='all',
        test_mode=True,
    )
    assert dataset.metainfo['class_counts'] == [3, 3, 3]
    command = TOOL.next_command(benchmark, root, out, True)
    for key in (
        f'train_dataloader.dataset.data_root={root}',
        f'test_dataloader.dataset.ann_file={out}/Places_LT_test.txt',
        'val_dataloader.dataset.skip_broken=True',
    ):
        assert key in command


def test_next_command_is_short_where_the_config_fits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark = tiny('inaturalist2018')[0]
    root = tmp_path / benchmark.data_root
    assert TOOL.next_command(benchmark, root, root, False) == (
        f'python tools/train.py {benchmark.config}'
    )


def test_inaturalist_from_the_official_json(tmp_path, capsys):
    benchmark, texts = tiny('inaturalist2018')
    lay(tmp_path, benchmark, texts)
    hidden = [dict(id=i, name=f'{i}') for i in range(3)]
    for facts in benchmark.lists:
        path = tmp_path / facts.annotations
        annotations(path, texts[facts.file], hidden)
    assert prepare(benchmark, tmp_path) == 1
    assert 'categories.json.tar.gz' in capsys.readouterr().out
    assert not list(tmp_path.glob('*.txt'))

    path = tmp_path / 'val2018.json'
    annotations(path, texts['iNaturalist18_val.txt'], taxonomy())
    assert prepare(benchmark, tmp_path) == 0
    for file, text in texts.items():
        assert (tmp_path / file).read_text() == text
        dataset = INaturalist2018(str(tmp_path), file, check_files='all')
        assert len(dataset) == text.count('\n')
    assert json.loads((tmp_path / 'categories.json').read_text()) == taxonomy()

    done = state(tmp_path)
    assert prepare(benchmark, tmp_path) == 0 and state(tmp_path) == done
    (tmp_path / 'categories.json').write_text('[]')
    assert prepare(benchmark, tmp_path) == 1
    assert 'categories.json' in capsys.readouterr().out


def test_all_problems_are_told_and_nothing_is_written(tmp_path, capsys):
    benchmark, texts = tiny('imagenet-lt')
    root = tmp_path / 'root'
    lay(root, benchmark, {'x': texts['ImageNet_LT_test.txt']})
    texts['ImageNet_LT_train.txt'] += 'train/../x.JPEG 0\ntrain/a/b.JPEG\n'
    texts['ImageNet_LT_val.txt'] = texts['ImageNet_LT_val.txt'].partition(
        '\n'
    )[2]
    del texts['ImageNet_LT_test.txt']
    lists = save(tmp_path / 'lists', texts)
    before = state(root)
    assert prepare(benchmark, root, lists) == 1
    out = capsys.readouterr().out
    for text in (
        f'There is no ImageNet_LT_test.txt in {lists}; take it from https:',
        'ImageNet_LT_train.txt: line 146: expected a path inside the root',
        "line 147: expected a path, a blank and a whole number, found 'train",
        'ImageNet_LT_val.txt: images: expected 6, found 5',
        'ImageNet_LT_val.txt: MD5: expected ',
        f"The images of 'train' are not below {root}, looked for as train/"
        '<class>/<image>, ILSVRC/Data/CLS-LOC/train/<class>/<image>; unpack '
        'ILSVRC2012_img_train.tar',
        '--allow-missing',
    ):
        assert text in out
    assert state(root) == before


@pytest.mark.parametrize('full', [False, True])
def test_missing_images(tmp_path, capsys, full):
    benchmark, texts = tiny('imagenet-lt')
    root, lists = tmp_path / 'root', save(tmp_path / 'lists', texts)
    lay(root, benchmark, texts)
    for label in range(2):
        (root / f'train/n01440764/train 0{label}.JPEG').unlink()
    assert prepare(benchmark, root, lists, full=full) == 1
    told = (
        'ImageNet_LT_train.txt: 2 of 145 images looked for are missing below '
        f"{root}, first 'train/n01440764/train 00.JPEG', 'train/n01440764/"
        "train 01.JPEG'; ILSVRC2012_img_train.tar holds them."
    )
    out = capsys.readouterr().out
    assert told in out and '--allow-missing' in out
    assert not list(root.glob('*.txt'))
    assert prepare(benchmark, root, lists, full=full, allow_missing=True) == 0
    out = capsys.readouterr().out
    assert told in out and 'skip_broken=True' in out
    for file, text in texts.items():
        assert (root / file).read_text() == text

    # As the keys in the command say, training leaves them out.
    for path in root.glob('*/*/*.JPEG'):
        Image.new('RGB', (4, 4)).save(path)
    dataset = ImageNetLT(
        str(root),
        classes=['tench', 'goldfish', 'shark'],
        check_files='none',
        skip_broken=True,
    )
    assert dataset.metainfo['class_counts'] == [118, 20, 5]


def test_files_of_the_user_are_kept(tmp_path, capsys):
    benchmark, texts = tiny('imagenet-lt')
    lists = save(tmp_path / 'lists', texts)
    root = tmp_path / 'root'
    forms = dict(val='val/{name}')
    spelled = lay(root, benchmark, texts, forms)
    save(root, texts)  # in a spelling that does not fit the folders
    before = state(root)
    assert prepare(benchmark, root, lists) == 1
    out = capsys.readouterr().out
    assert (
        f'{root}/ImageNet_LT_test.txt is another list than the one to write: '
        "image 1 is 'val/n01440764/test 00.JPEG 0' instead of 'val/test 00."
    ) in out
    assert '--force' in out and '--out' in out
    assert state(root) == before
    assert prepare(benchmark, root, lists, force=True) == 0
    out = capsys.readouterr().out
    assert out.count('Wrote') == 1  # the others were right
    assert (root / 'ImageNet_LT_test.txt').read_text() == (
        spelled['ImageNet_LT_test.txt']
    )


@pytest.mark.parametrize(
    'args, said, code',
    [
        (['cifar100-lt'], 'cifar100-lt needs no preparation', 0),
        (['imagenet'], "'imagenet' is unknown; possible are imagenet-lt, ", 1),
        (['places-lt'], '--root', 1),
        (['places-lt', '--root', 'none'], "no folder 'none' (--root)", 1),
        (
            ['places-lt', '--root', '.', '--lists', 'none'],
            "no folder 'none' (--lists)",
            1,
        ),
        (['places-lt', '--root', '.', '--jobs', '0'], '(--jobs)', 1),
        (
            ['imagenet-lt', '--root', '.', '--dry-run'],
            'unpack ILSVRC2012_img_val.tar',
            1,
        ),
        (
            ['places-lt', '--root', '.'],
            'unpack places365standard_easyformat.tar',
            1,
        ),
        (
            ['inaturalist2018', '--root', '.', '--full'],
            'no iNaturalist18_train.txt nor train2018.json (of '
            'train2018.json.tar.gz)',
            1,
        ),
    ],
)
def test_command_line(tmp_path, monkeypatch, capsys, args, said, code):
    monkeypatch.chdir(tmp_path)
    assert TOOL.main(args) == code
    assert said in capsys.readouterr().out
    assert not os.listdir(tmp_path)


def test_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, PATH, 'places-lt', '--root', tmp_path],
        env=dict(os.environ, PYTHONPATH=str(REPO)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert 'Nothing is written:' in done.stdout
    assert 'Traceback' not in done.stderr


PAGE = (REPO / 'docs' / 'datasets.md').read_text()


def test_page_names_everything():
    for benchmark in BENCHMARKS.values():
        train = benchmark.lists[0]
        wanted = [os.path.basename(benchmark.config), f'{train.lines:,} in']
        wanted += [part.archive for part in benchmark.images]
        wanted += [
            facts.json_archive or facts.file for facts in benchmark.lists
        ]
        wanted += [' / '.join(map(str, train.groups))] if train.groups else []
        assert not [text for text in wanted if text not in PAGE]


def test_commands_of_the_page():
    blocks = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    commands = [shlex.split(line) for b in blocks for line in b.splitlines()]
    prepared = set()
    for python, tool, *args in commands:
        assert python == 'python' and (REPO / tool).is_file()
        if tool.endswith('prepare.py'):
            options = TOOL.parse_args(args)
            prepared.add((options.name, options.root))
        elif tool.endswith('make_longtail.py'):
            load_tool(REPO / tool).parse_args(args)
        else:
            assert (REPO / args[0]).is_file()
    roots = {(b.name, b.data_root) for b in BENCHMARKS.values()}
    assert prepared == roots | {('NAME', 'DIR')}
    flags = set(re.findall(r'^\| `(--\S+?)[ `]', PAGE, re.MULTILINE))
    keys = vars(TOOL.parse_args(['x'])).keys() - {'name', 'root', 'jobs'}
    assert flags == {f'--{key.replace("_", "-")}' for key in keys}


def test_configs_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    image = Image.new('RGB', (8, 8))
    for folder in ('photos/a', 'photos/b', 'birds'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for n in range(5):
            image.save(tmp_path / 'data' / folder / f'{n}.png')
    for split in ('train', 'val', 'test'):
        (tmp_path / f'data/birds/{split}.txt').write_text('0.png 0\n1.png 1\n')
    (tmp_path / 'data/birds/class_names.txt').write_text('wren\nrobin\n')
    sizes = []
    for block in blocks:
        text = block.replace("'configs/", f"'{REPO}/configs/")
        (tmp_path / 'own.py').write_text(text)
        cfg = Config.fromfile(tmp_path / 'own.py')
        for loader in ('train', 'val', 'test'):
            config = dict(cfg[f'{loader}_dataloader'].dataset, pipeline=[])
            sizes.append(len(DATASETS.build(config)))
    assert sizes == [8, 2, 2] + [2, 2, 2] + [8, 2, 2]
