"""The wheel: what is in it, and that it works without the checkout."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lift_mm

ROOT = Path(__file__).parents[1]
INDEXES = ('model-index.yml', 'dataset-index.yml')


def pip(*args):
    command = [sys.executable, '-m', 'pip', '-q', *map(str, args)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    # A copy, for setuptools leaves its build folder behind and reuses it.
    folder = tmp_path_factory.mktemp('source')
    for name in ('lift_mm', 'configs', 'tools'):
        shutil.copytree(
            ROOT / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns('__pycache__'),
        )
    names = 'setup.cfg pyproject.toml MANIFEST.in LICENSE'
    for name in [*names.split(), *INDEXES]:
        shutil.copy(ROOT / name, folder)
    if (ROOT / 'README.md').exists():
        shutil.copy(ROOT / 'README.md', folder)
    pip('wheel', '--no-deps', '--no-build-isolation', '-w', folder, folder)
    (wheel,) = folder.glob('*.whl')
    return wheel


def test_wheel_carries_all(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = [*files('lift_mm', '*.py'), *files('lift_mm', '*.j2')]
    modules = {str(path.relative_to(ROOT)) for path in sources}
    wanted = {
        f'lift_mm/.mim/{path.relative_to(ROOT)}'
        for folder, pattern in (('configs', '*.*'), ('tools', '*.*'))
        for path in files(folder, pattern)
    }
    wanted |= {f'lift_mm/.mim/{name}' for name in INDEXES}
    assert packed >= modules | wanted
    assert not [name for name in packed if name.startswith('tests')]
    assert not [name for name in packed if name.endswith('.pyc')]


def files(folder, pattern):
    for path in (ROOT / folder).rglob(pattern):
        hidden = {'__pycache__', '.mim'} & set(path.parts)
        if path.is_file() and not hidden:
            yield path


def test_installed_wheel(wheel, tmp_path):
    target = tmp_path / 'site'
    pip('install', '--no-deps', '--target', target, wheel)
    code = """
import os, sys
import lift_mm
from mmengine.hub import get_config
assert os.path.dirname(lift_mm.__file__) == os.path.join(sys.argv[1],
                                                         'lift_mm')
cfg = get_config('lift_mm::lift/vit-b16_imagenet-lt.py')
assert cfg.default_scope == 'mmpretrain'
assert sys.argv[1] in cfg.filename
from mmpretrain.apis.model import ModelHub
name = 'lift-adaptformer_vit-base-p16_clip-openai-pre_1xb128-amp-coslr-10e'
assert ModelHub.get(name + '_imagenet-lt').config.filename.startswith(
    os.path.realpath(sys.argv[1]))
"""
    subprocess.run(
        [sys.executable, '-c', code, str(target)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(target)},
    )


def test_checkout_resolves_its_configs():
    for name in ('configs', 'tools', *INDEXES):
        link = Path(lift_mm.__file__).parent / '.mim' / name
        assert link.exists(), f'{link} leads nowhere'


def test_requirements():
    """No source build of mmcv, no pair that breaks mmpretrain."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    required = setup['options']['install_requires']
    names = {re.split('[<>=]', line)[0] for line in required.split()}
    expected = 'torch torchvision mmengine mmcv-lite mmpretrain'
    assert names >= {*expected.split(), 'open_clip_torch'}
    assert 'mmcv' not in names
    for package in ('pycocotools', 'transformers'):
        assert package not in (ROOT / 'setup.cfg').read_text()
