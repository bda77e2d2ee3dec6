"""Files from anywhere: whatever is opened, no code in it is run."""

import ast
import os
import pickle
import re
import zipfile
from contextlib import suppress
from pathlib import Path

import mmengine.runner
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from parity_models import ARCH
from torch import nn

import lift_mm
from lift_mm.apis import load_tuned
from lift_mm.clip import cache
from lift_mm.clip.arch import model_config
from lift_mm.clip.names import read_class_names
from lift_mm.clip.templates import read_descriptors
from lift_mm.clip.text import class_embeddings
from lift_mm.clip.torchscript import read_torchscript
from lift_mm.clip.weights import read
from lift_mm.datasets import CIFAR10LT, CIFAR100LT, LongTailList
from lift_mm.datasets.taxonomy import read_categories
from lift_mm.registry import MODELS
from lift_mm.safe_load import load_file
from lift_mm.safe_pickle import Unpickler, settle

REPO = Path(lift_mm.__file__).parents[1]


class Payload:
    """A pickle that makes a folder where it is trusted."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


# Files with the payload in them


def write_pickle(payload, path, protocol=2):
    path.write_bytes(pickle.dumps(payload, protocol))


def write_new_pickle(payload, path):
    write_pickle(dict(data=payload), path, pickle.HIGHEST_PROTOCOL)


def write_weights(payload, path):
    torch.save(dict(state_dict=dict(weight=payload)), path)


def write_old_weights(payload, path):
    torch.save(
        dict(state_dict=payload), path, _use_new_zipfile_serialization=False
    )


def write_runner(payload, path):
    """Write what the allow list is for, and the payload beside it."""
    log = HistoryBuffer([1.0], [1])
    torch.save(dict(message_hub=dict(loss=log), meta=payload), path)


def write_array(payload, path):
    with path.open('wb') as file:
        np.save(file, np.array([payload], object), allow_pickle=True)


def scripted(path, module=None):
    torch.jit.save(torch.jit.script(module or nn.Linear(2, 2)), path)


def write_torchscript(payload, path):
    """Exchange the module tree of an archive."""
    scripted(path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            if name.endswith('/data.pkl'):
                data = pickle.dumps(payload, 2)
            archive.writestr(name, data)


FILES = [
    write_pickle,
    write_new_pickle,
    write_weights,
    write_old_weights,
    write_runner,
    write_array,
    write_torchscript,
]

# Places that open a file


def build(kind, path, arch=ARCH):
    net = MODELS.build(dict(type=kind, arch=arch, pretrained=str(path)))
    net.init_weights()


def resnet(path):
    vision = dict(image_size=32, layers=[1, 1, 1, 1], width=8, head_width=4)
    build('lift_mm.CLIPResNet', path, dict(ARCH, vision_cfg=vision))


def cifar(path, monkeypatch, cls):
    monkeypatch.setattr(cls, '_check_integrity', lambda self: True)
    folder = path.parent / cls.base_folder
    folder.mkdir()
    for name, _ in cls.train_list:
        (folder / name).write_bytes(path.read_bytes())
    cls(str(path.parent))


def cached(path, monkeypatch):
    monkeypatch.setenv('LIFT_MM_CACHE', str(path.parent))
    path.rename(path.with_name('entry.safetensors'))
    if cache.read_cache('entry') is None:
        raise ValueError('as if there were none')


def from_url(path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(path.parent / 'hub'))
    mmengine.runner.checkpoint.load_url(path.as_uri(), map_location='cpu')


def backbone_of_mmpretrain(path, monkeypatch):
    net = MODELS.build(
        dict(
            type='mmpretrain.ResNet',
            depth=18,
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    )
    net.init_weights()


def inside(function):
    return lambda path, monkeypatch: function(str(path))


PLACES = dict(
    checkpoint=inside(load_file),
    safetensors=lambda path, _: load_file(
        path.rename(path.with_suffix('.safetensors'))
    ),
    load_from=inside(CheckpointLoader.load_checkpoint),
    url=from_url,
    backbone=backbone_of_mmpretrain,
    tuned=inside(lambda path: load_tuned(nn.Linear(1, 1), path)),
    weights=inside(read),
    torchscript=inside(read_torchscript),
    CLIPViT=inside(lambda path: build('lift_mm.CLIPViT', path)),
    CLIPResNet=inside(resnet),
    text_tower=inside(
        lambda path: class_embeddings(['a'], ['{}'], ARCH, path, cache=False)
    ),
    cifar10=lambda path, patch: cifar(path, patch, CIFAR10LT),
    cifar100=lambda path, patch: cifar(path, patch, CIFAR100LT),
    cache=cached,
    arch=lambda path, _: model_config(
        str(path.rename(path.with_suffix('.json')))
    ),
    class_names=inside(read_class_names),
    descriptors=inside(read_descriptors),
    categories=inside(read_categories),
    image_list=inside(
        lambda path: LongTailList(path, classes=['a'], check_files='none')
    ),
)


@pytest.mark.parametrize('write', FILES)
@pytest.mark.parametrize('place', PLACES)
def test_no_code_is_run(place, write, tmp_path, monkeypatch):
    marker, path = tmp_path / 'marker', tmp_path / 'file.pth'
    write(Payload(marker), path)
    # A place may refuse in its own words, but never take the file.
    with pytest.raises(Exception) as caught:
        PLACES[place](path, monkeypatch)
    assert not marker.exists()
    assert not isinstance(caught.value, (TypeError, AttributeError, KeyError))


@pytest.mark.parametrize('write', FILES[:5])
def test_the_payload_is_live(write, tmp_path):
    """Or the test above could not fail."""
    marker, path = tmp_path / 'marker', tmp_path / 'file.pth'
    write(Payload(marker), path)
    with suppress(Exception):  # a bare pickle is none of torch's files
        torch.load(path, weights_only=False)
    assert marker.exists()


# TorchScript


class Writer(nn.Module):
    """A module that writes a file when an archive of it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.weight = nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.path, self.weight, self.training = state
        torch.save(torch.ones(1), state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_programs_of_an_archive_are_not_run(tmp_path):
    marker, path = tmp_path / 'marker', tmp_path / 'model.pt'
    scripted(path, Writer(str(marker)))
    with pytest.raises(ValueError, match=r'model.pt.*Writer.__setstate__'):
        read(str(path))
    assert not marker.exists()
    torch.jit.load(path)
    assert marker.exists()  # the program is live


class Part(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4).to(dtype))
        self.register_buffer('turned', torch.arange(6).reshape(2, 3).t())
        self.register_buffer('empty', torch.zeros(0, 3))
        self.register_buffer('part', torch.arange(8)[2:6:2])
        self.register_buffer('number', torch.tensor(224))
        self.bias = None
        self.numbers, self.words = [1, 2], {'a': 1}
        self.tensors, self.loose = [torch.ones(2)], torch.ones(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.float32, torch.float64, torch.bfloat16]
)
def test_archives_give_what_torch_gives(tmp_path, dtype):
    root = nn.Sequential(Part(dtype), nn.Sequential(Part(dtype), nn.Tanh()))
    root[1][0].weight = root[0].weight
    scripted(tmp_path / 'model.pt', root)
    want = torch.jit.load(tmp_path / 'model.pt').state_dict()
    got = read_torchscript(str(tmp_path / 'model.pt'))
    assert list(got) == list(want)
    for key, value in want.items():
        assert torch.equal(got[key], value) and got[key].dtype == value.dtype
        assert got[key].stride() == value.stride()
    tied = [got[key].data_ptr() for key in ('0.weight', '1.0.weight')]
    assert tied[0] == tied[1]


@pytest.mark.parametrize('share', [0.2, 0.6, 0.95])
def test_torn_archives(tmp_path, share):
    scripted(tmp_path / 'model.pt')
    data = (tmp_path / 'model.pt').read_bytes()
    (tmp_path / 'model.pt').write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match='model.pt.*`backbone.pretrained`'):
        read(str(tmp_path / 'model.pt'))


# Allow-listed pickles


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read(protocol):
    value = dict(
        data=np.arange(12, dtype='>u2').reshape(3, 4),
        turned=np.arange(6, dtype=np.uint8).reshape(2, 3).T,
        labels=[1, 2],
        words=('a', b'b', 1.5, None, np.float32(2)),
    )
    got = settle(Unpickler(pickle.dumps(value, protocol)).load())
    assert got['labels'] == [1, 2] and got['words'] == value['words']
    for key in ('data', 'turned'):
        assert np.array_equal(got[key], value[key])
        assert got[key].dtype == value[key].dtype


def test_a_pickle_cannot_change_what_it_calls():
    """``BUILD`` would set the attributes of a function."""
    program = b'cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.'
    with pytest.raises(pickle.UnpicklingError, match='a state'):
        Unpickler(program).load()


@pytest.mark.parametrize(
    'value', [np.array([{}], object), np.array(['a']), np.zeros(1, 'i4,f4')]
)
def test_arrays_of_other_things_are_refused(value):
    with pytest.raises(pickle.UnpicklingError, match='GLOBAL numpy.dtype'):
        Unpickler(pickle.dumps(value, 2)).load()


# What the source never calls

_FORBIDDEN = {
    'eval',
    'exec',
    '__import__',
    'os.system',
    'pickle.load',
    'pickle.loads',
    'torch.jit.load',
    'np.load',
    'numpy.load',
    'yaml.load',
    'mmengine.load',
}
_OWN = {
    # What mmengine's dataset has pickled in the same process.
    ('lift_mm/engine/run_record.py', 'pickle.loads'),
    # Runs in memory what it has just written.
    ('lift_mm/deploy/formats.py', 'torch.jit.load'),
}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
            keys = {key.arg: ast.unparse(key.value) for key in node.keywords}
            yield ast.unparse(node.func), keys


@pytest.mark.parametrize('folder', ['lift_mm', 'tools', 'demo'])
def test_no_text_becomes_code(folder):
    found = [
        (path.relative_to(REPO).as_posix(), name, keys)
        for path in sorted((REPO / folder).rglob('*.py'))
        for name, keys in calls(path)
    ]
    assert len(found) > 100
    bad = [
        (path, name)
        for path, name, keys in found
        if (name in _FORBIDDEN and (path, name) not in _OWN)
        or (name == 'torch.load' and keys.get('weights_only') != 'True')
        or keys.get('weights_only') == 'False'
        or keys.get('shell') == 'True'
        or keys.get('allow_pickle') == 'True'
    ]
    assert bad == []


def test_each_claim_of_the_page_has_a_test():
    text = (REPO / 'docs/untrusted_input.md').read_text(encoding='utf-8')
    file, known = None, set()
    named = re.findall(r'`(test_\w+\.py)?::(\w+)`', text)
    for part, name in named:
        file = part or file
        path = Path(__file__).with_name(file)
        assert f'\ndef {name}(' in path.read_text(encoding='utf-8')
        known.add(name)
    assert len(known) > 20
