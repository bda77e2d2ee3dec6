"""The benchmarks of data loading: fair, and right in what they tell."""

import importlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

FOLDER = Path(__file__).parents[2] / 'tools/benchmarks'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module('data_loading')


@pytest.fixture
def modes(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module('load_modes')


@pytest.mark.parametrize('size', [(120, 90), (700, 600)])
def test_images(size, tool, tmp_path):
    tool.write_images(tmp_path, 3, size, 90)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    for file in files:
        with Image.open(file) as image:
            assert image.size == size and image.mode == 'RGB'
            assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
            again = tmp_path / 'again.jpg'
            image.save(again, quality=90)  # so many bytes again, about
            assert 0.9 < again.stat().st_size / file.stat().st_size < 1.1
            assert np.asarray(image).std() > 20


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_all_pipelines_load_the_same_pixels(interpolation, tool, tmp_path):
    tool.write_images(tmp_path, 4, (120, 90), 90)
    mean, std = (
        255 * torch.tensor(getattr(tool, key)).view(3, 1, 1)
        for key in ('MEAN', 'STD')
    )
    theirs = tool.torchvision_pipeline(48, interpolation)
    ours = tool.pipelines(48, interpolation)
    assert [*ours][:2] == ['load, then crop', 'exact']
    for file in sorted(tmp_path.iterdir()):
        torch.manual_seed(7)
        want = theirs(str(file)) * std + mean
        for name, load in ours.items():
            torch.manual_seed(7)
            got = load(str(file))
            assert got.dtype == torch.uint8 and got.shape == (3, 48, 48)
            apart = (got.flip(0) - want).abs()
            near = 1e-3 if name in [*ours][:2] else 1
            assert apart.mean() < near or name == 'fast'


def test_differences(tool):
    images = [torch.full((3, 2, 2), value) for value in (3, 9)]
    other = [images[0], images[1] - 4]
    found = tool.difference(other.__getitem__, images.__getitem__, [0, 1])
    assert found == (2.0, 4)


def test_time_is_of_the_processor_and_crops_change(tool):
    drawn = []
    seconds = tool.timed(lambda path: drawn.append(torch.rand(1)), ['a', 'b'])
    other = tool.timed(lambda path: drawn.append(torch.rand(1)), ['a', 'b'])
    assert seconds() >= 0 and seconds() >= 0
    other()
    assert drawn[:2] == drawn[4:] and drawn[:2] != drawn[2:4]


def test_tool(tool, tmp_path, capsys):
    words = ['--images', '2', '--rounds', '1', '--crop', '32']
    tool.main([*words, '--size', '120', '90'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('2 JPEGs of ')
    assert '-> 32, bilinear, one thread, 1 rounds' in lines[0]
    rows = {line[:24].strip(): line[24:].split() for line in lines[2:]}
    assert rows['torchvision on Pillow'][1] == '1.00'
    assert rows['exact'][2:] == rows['load, then crop'][2:] == ['0.000', '0']
    assert float(rows['tensor'][2]) < 1 < float(rows['fast'][2])
    assert all(float(row[0]) > 0 for row in rows.values())

    tool.write_images(tmp_path, 5, (90, 80), 80)
    tool.main([*words, '--folder', str(tmp_path)])
    assert capsys.readouterr().out.startswith('2 JPEGs of ')
    with pytest.raises(SystemExit, match='no JPEG'):
        tool.main([*words, '--folder', str(FOLDER)])


def scores(*values):
    return [{'lt/acc': value, 'lt/acc_few': value / 2} for value in values]


def test_table_of_modes(modes):
    lines = modes.table({'a': scores(40, 44), 'b': scores(41, 47)})
    rows = [line.split() for line in lines.splitlines()]
    assert rows[0] == [
        'acc',
        'acc_many',
        'acc_medium',
        'acc_few',
        'difference',
    ]
    assert rows[1] == ['a', '42.00', '-', '-', '21.00', '+0.00', '+-', '0.00']
    assert rows[2] == ['b', '44.00', '-', '-', '22.00', '+2.00', '+-', '1.00']
    lines = modes.table({'a': scores(40), 'b': scores(39)})
    assert lines.endswith('-1.00')


def test_each_mode_trains_from_the_same_seeds(
    modes, monkeypatch, tmp_path, capsys
):
    commands = []

    def run(words, **_):
        commands.append(words[2:])
        folder = Path(words[4], f'{len(commands):03}', 'vis_data')
        folder.mkdir(parents=True)
        lines = [{'loss': 1}, {'lt/acc': 1}, {'lt/acc': 50 + len(commands)}]
        text = '\n'.join(map(json.dumps, lines))
        (folder / 'scalars.json').write_text(text)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, 'run', run)
    pair = ['mode=exact', 'mode=fast,min_detail=1']
    words = ['c.py', '--modes', *pair, '--seeds', '4', '5']
    modes.main([*words, '--work-dir', str(tmp_path), '--cfg-options', 'a=1'])
    step = 'train_dataloader.dataset.pipeline.0.'
    expected = [
        [f'randomness.seed={seed}', *keys, 'a=1']
        for seed in (4, 5)
        for keys in (
            [f'{step}mode=exact'],
            [f'{step}mode=fast', f'{step}min_detail=1'],
        )
    ]
    assert [words[4:] for words in commands] == expected
    assert len({words[2] for words in commands}) == 4
    # 51 and 53 against 52 and 54
    assert capsys.readouterr().out.splitlines()[-1].endswith('+1.00 +- 0.00')
    monkeypatch.setattr(
        subprocess,
        'run',
        lambda words, **_: subprocess.CompletedProcess(words, 1, '', 'Oh.'),
    )
    with pytest.raises(SystemExit, match='Oh.'):
        modes.main([*words, '--work-dir', str(tmp_path)])
