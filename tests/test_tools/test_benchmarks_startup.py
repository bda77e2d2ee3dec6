"""The benchmark of the start takes apart what it says."""

import importlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
ARCH = dict(
    embed_dim=8,
    vision_cfg=dict(
        image_size=16, layers=1, width=32, head_width=16, patch_size=8
    ),
    text_cfg=dict(width=8, heads=1, layers=1),
)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    return lambda name: importlib.import_module(name)


def test_phases_do_not_overlap(tool):
    time = [0.0]

    class Work:
        @staticmethod
        def read():
            time[0] += 5

        @classmethod
        def build(cls):
            time[0] += 1
            cls.read()
            cls.read()
            time[0] += 2

        def fail(self):
            time[0] += 3
            self.build()
            raise KeyError

    phases = tool('first_step').Phases(lambda: time[0])
    for name in ('read', 'build', 'fail'):
        phases.watch(Work, name, name)
    with pytest.raises(KeyError):
        Work().fail()
    assert phases.spent == dict(read=10, build=3, fail=3)
    Work.read()
    assert phases.spent['read'] == 15


def test_one_start(tool, tmp_path):
    arch = tmp_path / 'arch.json'
    arch.write_text(json.dumps(ARCH))
    startup = tool('startup')
    args = SimpleNamespace(
        arch=str(arch), classes=3, images=2, batch_size=2, cpu=False
    )
    fields = startup.write_inputs(tmp_path, args)
    config = tmp_path / 'text.py'
    config.write_text(startup.CONFIG.format(**fields, init='SemanticInit'))
    cache = tmp_path / 'cache'
    found = startup.in_fresh_process(config, cache, args.cpu)
    assert [path.name[:5] for path in cache.iterdir()] == ['text-']
    whole = found.pop('in all')
    assert found.keys() | {'head from images'} == set(startup.PHASES)
    assert sum(found.values()) == pytest.approx(whole)
    assert min(found.values()) > -0.01  # the clocks are read apart
    for phase in ('fingerprint', 'head from text', 'first step'):
        assert found[phase] > 0

    config.write_text('oops')
    with pytest.raises(RuntimeError, match='oops'):
        startup.in_fresh_process(config, cache, args.cpu)


def test_import_seconds(tool):
    wall, cpu = tool('startup').import_seconds('json')
    assert wall > 0 and cpu >= 0
    with pytest.raises(subprocess.CalledProcessError):
        tool('startup').import_seconds('no_such_module_')
    assert min(tool('startup').added_seconds()) > 0


def test_differences(tool, monkeypatch):
    startup = tool('startup')
    seconds = iter([9.0, 9.0, 2.0, 2.5, 4.0, 3.0, 5.0, 5.25])
    order = []

    def import_seconds(module):
        order.append(module)
        wall = next(seconds)
        return wall, wall / 2

    monkeypatch.setattr(startup, 'import_seconds', import_seconds)
    monkeypatch.setattr(startup, 'added_seconds', lambda: (0.125, 0.0625))
    lines = startup.compare_imports(3).splitlines()
    first, second = ['mmpretrain', 'lift_mm'], ['lift_mm', 'mmpretrain']
    assert order == first + first + second + first  # the first warms up
    rows = {line[:20].strip(): line.split()[-2:] for line in lines[1:]}
    # 2.5 - 2.0, 4.0 - 3.0, 5.25 - 5.0
    assert rows['difference'] == ['0.50', '0.25']
    assert rows['lift_mm alone'] == ['0.125', '0.062']
