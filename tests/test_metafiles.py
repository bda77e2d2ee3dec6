"""What is written about the recipes agrees with the recipes."""

import re
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import full_size
import miniature
import pytest
import yaml
from miniature import REPO
from mmengine.config import Config

from lift_mm.reproduce.published import TABLES

INDEX = yaml.safe_load((REPO / 'model-index.yml').read_text())['Import']
FOLDERS = [Path(path).parent.name for path in INDEX]
ENTRIES = {
    entry['Config']: entry
    for path in INDEX
    for entry in yaml.safe_load((REPO / path).read_text())['Models']
}
FACTS = ('learned', 'head', 'total')


def load(path: str) -> Config:
    return Config.fromfile(REPO / path)


@cache
def count(model: str) -> dict:
    """Count parameters once for all recipes with the same model."""
    return full_size.count(Config.fromstring(model, '.py'))


def counted(path: str) -> dict:
    cfg = load(path)
    found = count(Config(dict(model=cfg.model.to_dict())).pretty_text)
    if 'zero_shot' in path:  # its head does not learn
        found = dict(found, head=0)
    return found


def test_every_recipe_has_one_entry():
    recipes = {
        path.relative_to(REPO).as_posix()
        for path in (REPO / 'configs').rglob('*.py')
        if path.parents[1].name != '_base_'
        and path.parent.name not in ('_base_', 'demo')
        and not path.stem.endswith('_folder')  # a template, of no dataset
    }
    assert set(ENTRIES) == recipes
    assert len({e['Name'].lower() for e in ENTRIES.values()}) == len(recipes)
    folders = {Path(path).parent.name for path in recipes}
    assert set(FOLDERS) == folders


@pytest.mark.parametrize('folder', FOLDERS)
def test_collection(folder):
    data = yaml.safe_load((REPO / f'configs/{folder}/metafile.yml').open())
    (collection,) = data['Collections']
    assert collection['README'] == f'configs/{folder}/README.md'
    assert (REPO / collection['README']).is_file()
    assert collection['Paper']['URL'].startswith('https://arxiv.org/abs/')
    for entry in data['Models']:
        assert entry['In Collection'] == collection['Name']
        assert Path(entry['Config']).parent.name == folder


@pytest.mark.parametrize('path', ENTRIES)
def test_entry(path):
    """The name follows mmpretrain's rules, the numbers are counted ones."""
    entry, cfg = ENTRIES[path], load(path)
    name = entry['Name']
    assert name.startswith('lift-') and entry['Weights'] is None
    data = Path(path).stem.rpartition('_')[2]
    size = '-336px' if 'l14-336' in path else ''
    assert name.endswith(f'_{data}{size}')
    if 'zero_shot' not in path:
        batch = f'_1xb{cfg.train_dataloader.batch_size}-'
        assert batch in name and f'-{cfg.train_cfg.max_epochs}e_' in name
        steps = cfg.optim_wrapper.get('accumulative_counts', 1)
        assert ('accu' in name) == (steps > 1)
        assert steps == 1 or f'-accu{steps}-' in name
    facts = entry['Metadata']
    keys = ('Learned Parameters', 'Head Parameters', 'Parameters')
    found = counted(path)
    assert [facts[k] for k in keys] == [found[k] for k in FACTS]
    assert facts['FLOPs'] > 3e9


@pytest.mark.parametrize(
    'path',
    [
        f'configs/{name}.py'
        for name in (
            'lift/vit-b16_imagenet-lt',
            'lift/vit-b32_places-lt',
            'lift/vit-l14-336_inaturalist2018',
            'lift/rn101_cifar100-lt-ir10',
            'zero_shot/vit-b16_imagenet-lt',
            'tuners/vit-b16-vpt-deep_imagenet-lt',
            'imagenet21k/vit-b16_places-lt',
            'dinov2/vit-b14_imagenet-lt',
        )
    ],
)
def test_multiply_adds(path):
    cfg = load(path)
    side = cfg.test_pipeline[-2].crop_size
    found = full_size.multiply_adds(cfg, side)
    assert found == ENTRIES[path]['Metadata']['FLOPs']


def test_multiply_adds_are_those_of_mmpretrain():
    """ViT-B/16 has 17.58 billion there, which count the head, too."""
    cfg = load('configs/linear_probe/vit-b16_imagenet-lt.py')
    assert full_size.multiply_adds(cfg, 224) == pytest.approx(17.58e9, 2e-3)


def rows_of(folder: str) -> dict[str, list[str]]:
    """Give the cells of a README's table by the config they link to."""
    text = (REPO / f'configs/{folder}/README.md').read_text()
    rows = {}
    for line in text.splitlines():
        found = re.match(r'\| \[(.+?)\]\((.+?\.py)\) \|', line)
        if found:
            assert found[2] == found[1] + '.py'
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            path = f'configs/{folder}/{found[2]}'
            assert path not in rows
            rows[path] = cells
    return rows


@pytest.mark.parametrize('folder', FOLDERS)
def test_table_of_readme(folder):
    rows = rows_of(folder)
    here = {p for p in ENTRIES if Path(p).parent.name == folder}
    assert rows.keys() == here
    for path, cells in rows.items():
        assert len(cells) == 5
        facts = ENTRIES[path]['Metadata']
        learned = [int(n.replace(',', '')) for n in cells[1].split('+')]
        expected = [facts['Learned Parameters'], facts['Head Parameters']]
        assert learned == expected[: len(learned)]
        assert len(learned) == 2 or expected[1] == 0
        assert bool(cells[2]) == bool(cells[3]), 'a number without a source'


@pytest.mark.parametrize('folder', FOLDERS)
def test_links_and_commands_of_readme(folder):
    home = REPO / 'configs' / folder
    text = (home / 'README.md').read_text()
    for link in re.findall(r'\]\((.+?)\)', text):
        if not link.startswith('https://'):
            assert (home / link.partition('#')[0]).resolve().is_file(), link
    commands = re.findall(r'python (tools/\S+) (configs/\S+\.py)', text)
    assert commands
    for tool, config in commands:
        assert (REPO / tool).is_file() and (REPO / config).is_file()


@pytest.mark.parametrize('row', [r for t in TABLES.values() for r in t.rows])
def test_published_numbers(row):
    """README, metafile and the tables to reproduce say the same."""
    assert (REPO / row.config).is_file()
    if not row.published or row.options:
        return
    entry = ENTRIES[row.config]
    cells = rows_of(Path(row.config).parent.name)[row.config]
    told = {float(n) for n in re.findall(r'\d+\.\d+', cells[2])}
    metrics = entry['Results'][0]['Metrics']
    suffix = '(published with TTE)' if row.tta else '(published)'
    names = dict(
        acc='Accuracy', acc_many='Many', acc_medium='Medium', acc_few='Few'
    )
    for measure, number in row.published.items():
        assert number in told
        assert metrics[f'{names[measure]} {suffix}'] == number


def test_dataset_index(tmp_path):
    """Its script unpacks what OpenDataLab has of ImageNet."""
    entries = yaml.safe_load((REPO / 'dataset-index.yml').read_text())
    script = REPO / entries['imagenet-lt']['script']
    assert script.stat().st_mode & 0o111
    raw, data = tmp_path / 'ImageNet-1K/raw', tmp_path / 'my data/imagenet'
    raw.mkdir(parents=True)
    for split in ('train', 'val'):
        miniature.photo(tmp_path / f'ImageNet-1K/{split}/n01/a.JPEG', 0)
    whole = tmp_path / 'whole.tar.gz'
    with tarfile.open(whole, 'w:gz') as archive:
        for split in ('train', 'val'):
            path = tmp_path / 'ImageNet-1K' / split
            archive.add(path, f'ImageNet-1K/{split}')
            shutil.rmtree(path)
    packed = whole.read_bytes()
    (raw / 'ImageNet-1K.tar.gz.00').write_bytes(packed[:100])
    (raw / 'ImageNet-1K.tar.gz.01').write_bytes(packed[100:])
    done = subprocess.run(
        [script, tmp_path, data], check=True, capture_output=True, text=True
    )
    assert 'prepare.py imagenet-lt' in done.stdout
    for split in ('train', 'val'):
        assert (data / split / 'n01/a.JPEG').is_file()
