"""The benchmark of list loading measures what it says."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/benchmarks/list_loading.py'

linux = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('list_loading', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@linux
def test_items_in_one_buffer_are_shared_by_workers(tool, tmp_path):
    """A list of dicts is the control: reading it copies its memory."""
    path = tmp_path / 'list.txt'
    tool.write_list(path, 60000)

    def dicts(path):
        build = tool.ours(path)

        def unserialized():
            dataset = build()
            items = [
                dataset.get_data_info(index) for index in range(len(dataset))
            ]
            dataset.get_data_info = items.__getitem__
            return dataset

        return unserialized

    found = tool.measure(tool.ours, str(path), 1)
    control = tool.measure(dicts, str(path), 1)
    size = path.stat().st_size / 2**20
    assert found['by reading'] < 0.3 * size < size < control['by reading']
    assert found['private'] >= found['by reading']
    assert found['peak'] > 0 and found['seconds'] > 0


@linux
def test_tool():
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, TOOL, '--lines', '30000', '--workers', '1']
    done = subprocess.run(
        command,
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == '30000 lines, 1 workers'
    assert [line.split()[0] for line in lines[2:4]] == ['seconds', 'peak']
    assert min(map(float, lines[2].split()[1:4])) > 0


def test_too_few_lines(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['list_loading.py', '--lines', '10'])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert '--lines >= 8142' in capsys.readouterr().err
