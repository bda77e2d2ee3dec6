"""Reports, comparisons and class conditions of a run, by their tools."""

import csv
import importlib.util
import io
import json
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from analysed_run import COUNTS, NAMES, TESTED, run_config
from miniature import REPO
from mmengine.config import Config
from test_tools.test_train_test import TOOLS, free_port
from test_tools.test_train_test import run as run_tool
from test_tuners import tiny_models

pytest.importorskip('plotly', reason='needs the extra `report`')


def load_tool(name: str) -> ModuleType:
    path = REPO / 'tools' / 'analysis_tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('LIFT_MM_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Train, test and report once."""
    folder = tmp_path_factory.mktemp('hostile')
    runner = tiny_models.runner(run_config(folder))
    runner.train()
    metrics = runner.test()
    load_tool('report').main([str(folder / 'run')])
    return SimpleNamespace(folder=folder / 'run', metrics=metrics)


def test_report_says_what_a_test_says(run):
    report = json.loads((run.folder / 'report.json').read_text('utf-8'))
    want = {key.removeprefix('lt/'): v for key, v in run.metrics.items()}
    assert report['metrics'] == pytest.approx(want, abs=1e-4)
    assert {'acc_many', 'acc_medium', 'acc_few'} <= report['metrics'].keys()
    assert report['checkpoint'].endswith('epoch_1.pth')
    rows = report['rows']
    assert [row['class_name'] for row in rows] == NAMES
    assert [row['train_count'] for row in rows] == COUNTS
    assert [row['test_count'] for row in rows] == TESTED
    assert rows[-1]['accuracy'] is None
    assert sum(b['images'] for b in report['calibration']) == sum(TESTED)
    learned = {t['name']: t['parameters'] for t in report['learned']}
    assert learned['head.fc.weight'] == len(NAMES) * 32


def test_report_is_one_file_with_zero_shot_and_curves(run):
    page = (run.folder / 'report.html').read_text('utf-8')
    assert 'zero-shot CLIP' in page
    assert 'learning rate' in page


def test_report_of_what_is_no_run(tmp_path, run):
    report = load_tool('report').main
    with pytest.raises(ValueError, match='holds no config'):
        report([str(tmp_path)])
    with pytest.raises(ValueError, match='holds no config'):
        report([str(run.folder), '--against', 'other', str(tmp_path)])
    (tmp_path / 'recipe.py').write_text('')
    with pytest.raises(ValueError, match='holds no checkpoint'):
        report([str(tmp_path)])


def test_compare(run, tmp_path, monkeypatch, capsys):
    tool, out = load_tool('compare'), tmp_path / 'new' / 'table'
    asked = []

    def run_facts(path, name):
        asked.append(name)
        return facts(path, name)

    facts = tool.run_facts
    monkeypatch.setattr(tool, 'run_facts', run_facts)
    args = [f'@SUM(1)={run.folder}', f'[red]50%_$a={run.folder}']
    tool.main([*args, '--out', str(out)])
    assert not asked  # the report is as new as the checkpoint
    assert '[red]50%_$a' in capsys.readouterr().out
    text = out.with_suffix('.csv').read_text('utf-8')
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row['run'] for row in rows] == ['@SUM(1)', '[red]50%_$a']
    got = float(rows[0]['acc_few'])
    assert got == pytest.approx(run.metrics['lt/acc_few'], abs=1e-4)
    assert int(rows[0]['head_params']) == len(NAMES) * 32
    assert int(rows[0]['learned_params']) > 0
    tex = out.with_suffix('.tex').read_text('utf-8')
    assert r'[red]50\%\_\$a' in tex
    assert out.with_suffix('.png').read_bytes().startswith(b'\x89PNG')

    checkpoint = run.folder / 'epoch_1.pth'
    report = (run.folder / 'report.json').stat()
    later = report.st_mtime + 10
    os.utime(checkpoint, (later, later))
    tool.main([f'again={run.folder}', '--out', str(out)])
    os.utime(checkpoint, (report.st_mtime - 1, report.st_mtime - 1))
    assert asked == ['again']


def test_compare_refuses_two_of_one_name(run):
    with pytest.raises(ValueError, match="called 'run'"):
        load_tool('compare').main([str(run.folder)] * 2)


def test_class_conditions(run, tmp_path, capsys):
    config = str(next(run.folder.glob('*/vis_data/config.py')))
    checkpoint = str(run.folder / 'epoch_1.pth')
    args = [config, checkpoint, '--name', '[red]LIFT', '--out', str(tmp_path)]
    tool = load_tool('class_conditions')
    tool.main([*args, '--with', 'zero $shot', config])
    assert '[red]LIFT' in capsys.readouterr().out

    def no_constant(name):
        raise AssertionError(f'{name} is no JSON')

    text = (tmp_path / 'class_conditions.json').read_text('utf-8')
    found = json.loads(text, parse_constant=no_constant)
    assert list(found) == ['[red]LIFT', 'zero $shot']
    first = found['[red]LIFT']
    assert first['class_gap'][-1] is None
    assert first['groups']['few']['images'] == dict(train=12, test=7)
    for group, values in first['groups'].items():
        want = run.metrics[f'lt/acc_{group}']
        assert values['test_acc'] == pytest.approx(want, abs=1e-4)
    with open(tmp_path / 'class_conditions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['group'] for row in rows] == ['many', 'medium', 'few'] * 2
    assert float(rows[2]['gap']) == first['groups']['few']['gap']
    png = (tmp_path / 'class_conditions.png').read_bytes()
    assert png.startswith(b'\x89PNG')


def test_class_conditions_refuses(run, tmp_path):
    tool = load_tool('class_conditions')
    config = str(next(run.folder.glob('*/vis_data/config.py')))
    with pytest.raises(ValueError, match='same name: a, a'):
        tool.main([config, '--name', 'a', '--with', 'a', config])
    with pytest.raises(ValueError, match='`train_dataloader`'):
        tool.main([config, '--cfg-options', 'train_dataloader=None'])
    with pytest.raises(SystemExit):
        tool.main([config, '--with', 'a'])


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    """Write the config of such a run as a file."""
    folder = tmp_path_factory.mktemp('recipe')
    config = Config(run_config(folder, log_level='INFO'))
    config.custom_imports = dict(imports=['lift_mm'])
    path = folder / 'recipe.py'
    config.dump(path)
    return path


def test_train_writes_the_report(recipe, tmp_path):
    """On two processes: the first one tests all images, and all end."""
    done = run_tool(
        'bash', TOOLS / 'dist_train.sh', recipe, 2, '--report',
        '--no-persistent-workers', '--work-dir', tmp_path / 'run',
        PORT=free_port(),
    )  # fmt: skip
    folder = tmp_path / 'run'
    assert f'Written: {folder}/report.html' in done
    report = json.loads((folder / 'report.json').read_text('utf-8'))
    assert [row['test_count'] for row in report['rows']] == TESTED
    said = done.index('Trained and saved in')
    assert said < done.index('test images: 18')


def train(monkeypatch, *args):
    tool = load_tool('../train')
    monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    tool.main()


@pytest.mark.parametrize(
    'option, message',
    [
        ('test_dataloader=None', 'has none .key `test_dataloader`'),
        ('test_evaluator.type=Accuracy', 'has Accuracy .key `test_evaluator`'),
    ],
)
def test_report_is_refused_before_training(
    recipe, tmp_path, monkeypatch, option, message
):
    args = (recipe, '--work-dir', tmp_path / 'no', '--report')
    with pytest.raises(ValueError, match=message):
        train(monkeypatch, *args, '--cfg-options', option)
    assert not (tmp_path / 'no').exists()


def test_report_needs_its_extra(recipe, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(('plotly', 'lift_mm.analysis.run_report')):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'plotly', None)
    monkeypatch.setitem(sys.modules, 'plotly.graph_objects', None)
    with pytest.raises(ValueError, match=r'plotly.*lift_mm\[report\]'):
        train(monkeypatch, recipe, '--work-dir', tmp_path, '--report')
    assert not list(tmp_path.iterdir())
