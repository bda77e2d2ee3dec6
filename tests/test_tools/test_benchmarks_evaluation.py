"""The benchmark of testing: fair, and it runs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools/benchmarks'
ARCH = dict(
    embed_dim=16,
    vision_cfg=dict(
        image_size=32, layers=2, width=32, head_width=8, patch_size=8
    ),
    text_cfg=dict(width=16, heads=2, layers=1),
)


@pytest.fixture
def tools(monkeypatch):
    """Import modules of the benchmarks, which are scripts in a folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def tiny(tmp_path):
    """Give the options of a ViT of two narrow blocks."""
    path = tmp_path / 'tiny.json'
    path.write_text(json.dumps(ARCH))
    options = dict(image=32, batch_size=3, num_classes=7, bottleneck=4)
    words = [f'--{k.replace("_", "-")}={v}' for k, v in options.items()]
    return [f'--arch={path}', *words]


@torch.no_grad()
def test_all_give_the_same_scores(tools, tiny):
    """From the same pixels, or the times could not be compared."""
    evaluation = tools('evaluation')
    args = evaluation.parse_args(tiny)
    nets = evaluation.build(args)
    assert evaluation.difference(args, nets) < 1e-5
    assert not any(net.training for net in nets.values())
    names = [name for name, _ in nets['merged'].named_modules()]
    assert not any('adaptformer' in name for name in names)
    ways = evaluation.ways(args, nets)
    first, *others = (way() for way in ways.values())
    assert first.std(dim=0).max() > 1e-3  # images differ
    for scores in others:
        torch.testing.assert_close(scores, first, atol=1e-6, rtol=1e-5)


def test_ratios(tools):
    """Rounds are paired, and the first column is what others refer to."""
    found = dict(plain=[1.0, 10.0, 1.0], ours=[2.0, 20.0, 4.0])
    columns = tools('evaluation').compare(found, 8)
    assert columns['plain'] == {
        'ms': 1000,
        'images/s': 8,
        'time / plain': 1,
        'speed / plain': 1,
    }
    assert columns['ours'] == {
        'ms': 4000,
        'images/s': 2,
        'time / plain': 2,
        'speed / plain': 0.5,
    }


def test_tool(tiny):
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    options = ('--rounds=2', '--threads=1', '--crops=3', '--max-batch=6')
    done = subprocess.run(
        [sys.executable, FOLDER / 'evaluation.py', *tiny, *options],
        env={**os.environ, 'PYTHONPATH': path, 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert not done.returncode, done.stderr
    head, one, crops = done.stdout.split('\n\n')
    assert 'batch 3, fp32, 2 rounds' in head
    for part, title, first in (
        (one, 'one view', 'plain'),
        (crops, '3 crops', 'straightforward'),
    ):
        lines = part.splitlines()
        assert lines[0] == title
        assert lines[1].split() == [first, 'tuned', 'merged']
        rows = ['ms', 'images/s', f'time / {first}', f'speed / {first}']
        for row, line in zip(rows, lines[2:], strict=True):
            assert line.startswith(row)
            values = list(map(float, line[len(row) :].split()))
            assert len(values) == 3 and min(values) > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--rounds', '0'], '--rounds >= 1'),
        (['--crops', '0'], '--crops and --rounds >= 1'),
        (['--half'], '--half needs a GPU'),
    ],
)
def test_mistakes(tools, monkeypatch, capsys, options, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit):
        tools('evaluation').parse_args(options)
    assert message in capsys.readouterr().err
