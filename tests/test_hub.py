"""mmpretrain's hub knows the recipes."""

import subprocess
import sys
from pathlib import Path

import miniature
import mmpretrain
import yaml
from miniature import REPO
from mmpretrain.apis.model import ModelHub

INDEX = yaml.safe_load((REPO / 'model-index.yml').read_text())['Import']
ENTRIES = {
    entry['Config']: entry
    for path in INDEX
    for entry in yaml.safe_load((REPO / path).read_text())['Models']
}


def test_list_models():
    names = {entry['Name'].lower() for entry in ENTRIES.values()}
    assert set(mmpretrain.list_models('lift*')) == names
    assert 'vit-base-p16_32xb128-mae_in1k' in mmpretrain.list_models()


def test_get_model(tmp_path):
    clip = miniature.clip(tmp_path)
    width = clip.pop('width')
    path = 'configs/lift/vit-b16_places-lt.py'
    model = mmpretrain.get_model(
        ENTRIES[path]['Name'],
        backbone=dict(backbone=clip),
        head=dict(in_channels=width),
    )
    assert type(model).__name__ == 'LongTailClassifier'
    assert model.head.num_classes == 365
    assert model._metainfo.metadata.data['Learned Parameters'] == 175212


def test_configs_of_the_hub_are_there():
    paths = {
        ModelHub._models_dict[n].config
        for n in mmpretrain.list_models('lift*')
    }
    assert all(Path(path).is_file() for path in paths)
    assert len(paths) == len(ENTRIES)


def test_import_reads_no_index():
    """Reading it would make every import slower."""
    code = """
import sys, lift_mm
from mmpretrain.apis.model import ModelHub
assert not ModelHub._models_dict
assert 'mmpretrain.models' not in sys.modules
from mmpretrain import list_models
assert list_models('lift*lora*') and list_models('resnet50*')
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=REPO)
