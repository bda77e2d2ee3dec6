"""Class and folder names of any kind pass through unharmed."""

import csv
import importlib.util
import io
import json

import numpy as np
import open_clip
import pytest
from miniature import REPO
from mmengine.config import Config
from picture_files import PHOTO
from PIL import Image

from lift_mm.analysis import count_plot
from lift_mm.clip.names import clean_name, printable, read_class_names
from lift_mm.clip.templates import class_prompts, resolve_templates
from lift_mm.config_text import comment, literal
from lift_mm.datasets import LongTailFolder
from lift_mm.evaluation.report import class_rows, worst_table, write_report
from lift_mm.recommend.__main__ import main as recommend

# What may be a folder's name, and has once broken something somewhere.
NAMES = [
    'quote\'s "both"',
    'tab\there',
    '🦊 emoji 👩‍🚀',
    'שלום \u202eright to left',
    '<script>alert(1)<\\script>',
    '=cmd()',
    '@SUM(A1)',
    '{} braces {0} {name!r}',
    '100 % %s %(x)s',
    '$math_{x}$',
    '\x1b[2J\x1b[31mred',
    'comma,semicolon;pipe|',
    "a' + __import__('os').system('id') + '",
    '{{ fileDirname }}',
    '{{_base_.model}}',
    '"{{$NO_SUCH_VARIABLE:abc\'}}',
    '[bold]rich[bold]',
    'NULL',
    '-rf',
    'dots ..',
]


@pytest.fixture
def folders(tmp_path):
    """Give a folder of such names that has such a name."""
    root = tmp_path / NAMES[15]
    for name in NAMES:
        for number in range(2):
            (root / name).mkdir(parents=True, exist_ok=True)
            PHOTO.resize((8, 8)).save(root / name / f'{number}.png')
    return root


@pytest.mark.parametrize('name', [*NAMES, 'new\nline', ' blank '])
def test_prompts(name):
    """No name is a format, and white space is one blank."""
    templates = resolve_templates('ensemble')
    (prompts,) = class_prompts([name], templates)
    want = ' '.join(name.replace('_', ' ').split())
    for prompt, template in zip(prompts, templates, strict=True):
        before, after = template.split('{}')
        assert prompt == before + want + after
    tokens = open_clip.SimpleTokenizer()(prompts)
    assert tokens.shape == (len(templates), 77)


def test_folders_and_names_files(folders):
    found = LongTailFolder(str(folders)).metainfo['classes']
    want = sorted(NAMES)
    assert found == tuple(map(clean_name, want))
    path = folders / 'class_names.txt'
    path.write_text('\n'.join(found), encoding='utf-8')
    assert tuple(read_class_names(str(path))) == found


def test_a_line_break_is_the_end_of_a_name(tmp_path):
    """In a file of names; a list of names may hold one."""
    path = tmp_path / 'class_names.txt'
    path.write_text('new\nline\n')
    assert read_class_names(str(path)) == ['new', 'line']
    assert clean_name('new\nline') == 'new line'


def rows():
    labels = np.arange(len(NAMES))
    groups = dict(many=labels, medium=labels[:0], few=labels[:0])
    return class_rows(labels, labels[::-1], groups, NAMES)


def test_csv_and_json(tmp_path):
    names = [*NAMES, 'new\nline']
    lines = [dict(row, class_name=name) for row, name in zip(rows(), names)]
    write_report(str(tmp_path / 'a'), lines, {}, {})
    with open(tmp_path / 'a.csv', encoding='utf-8', newline='') as file:
        read = [row['class_name'] for row in csv.DictReader(file)]
    assert read == names[: len(lines)]
    report = json.loads((tmp_path / 'a.json').read_text(encoding='utf-8'))
    assert [row['class_name'] for row in report['classes']] == read


def test_tables_do_not_act_on_a_terminal():
    table = worst_table(rows(), len(NAMES))
    assert len(table.splitlines()) == len(NAMES) + 2
    assert not set('\x1b\u202e') & set(table)
    assert printable('日本 👩‍🚀 שלום') == '日本 👩‍🚀 שלום'


def test_plots():
    counts = list(range(1, len(NAMES) + 1))
    picture = Image.open(io.BytesIO(count_plot(counts, NAMES, 'a $ tail')))
    assert picture.format == 'PNG' and min(picture.size) > 300


# Names in the text of a config, which is a program


@pytest.mark.parametrize('name', [*NAMES, 'new\nline', '{{{{{', '\\{{a}}'])
def test_names_in_a_config(name, tmp_path):
    path = tmp_path / 'config.py'
    text = f'# {comment(name)}\nname = {literal(name)}\n'
    text += f'names = {literal([name, dict(a=name)])}\n'
    path.write_text(text, encoding='utf-8')
    cfg = Config.fromfile(path)
    assert cfg.name == name
    assert cfg.names == [name, dict(a=name)]
    assert set(cfg) == {'name', 'names'}


def test_a_recommended_config(folders, tmp_path, capsys):
    out = tmp_path / 'my.py'
    assert recommend(['--data', str(folders), '--out', str(out)]) == 0
    cfg = Config.fromfile(out)
    assert cfg.train_dataloader.dataset.data_root == str(folders)
    assert not set('\x1b\u202e') & set(capsys.readouterr().out)


def test_a_config_for_lists(folders, tmp_path, capsys):
    path = REPO / 'tools/dataset_converters/make_longtail.py'
    spec = importlib.util.spec_from_file_location('make_longtail', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main([str(folders), '--out', str(tmp_path / 'out'), '--ratio', '1'])
    text = capsys.readouterr().out.split('for tools/train.py:\n')[1]
    (tmp_path / 'my.py').write_text(text, encoding='utf-8')
    cfg = Config.fromfile(tmp_path / 'my.py')
    dataset = cfg.train_dataloader.dataset
    assert dataset.data_root == str(folders)
    assert dataset.ann_file == str(tmp_path / 'out/train.txt')
