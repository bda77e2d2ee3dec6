"""The notebook runs from top to bottom, and is kept without outputs."""

import base64
import json
import shutil
import zipfile

import pytest
from miniature import REPO

NOTEBOOK = REPO / 'demo' / 'lift_demo.ipynb'
# Images of each class: one with many, some with a medium number, two few.
KEPT = (102, *(21,) * 7, 15, 10)


@pytest.fixture
def small_checkout(tmp_path):
    """Give a folder with the configs, and a tenth of the demo's images."""
    for name in ('configs', 'demo'):
        (tmp_path / name).symlink_to(REPO / name)
    whole, data = tmp_path / 'whole', tmp_path / 'data/fashion-mnist-lt'
    with zipfile.ZipFile(REPO / 'demo' / 'fashion-mnist-lt.zip') as archive:
        archive.extractall(whole)
    for split, kept in dict(train=KEPT, test=(4,) * 10).items():
        folders = sorted((whole / split).iterdir())
        # From the head to the tail, whatever their names are.
        folders.sort(
            key=lambda f: -len(list((whole / 'train' / f.name).iterdir()))
        )
        for folder, number in zip(folders, kept):
            target = data / split / folder.name
            target.mkdir(parents=True)
            for image in sorted(folder.iterdir())[:number]:
                shutil.copy(image, target)
    for file in filter(lambda path: path.is_file(), whole.iterdir()):
        shutil.copy(file, data)
    return tmp_path


def test_it_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    assert not [cell for cell in cells if cell.get('outputs')]


def test_it_runs(small_checkout, monkeypatch):
    reason = "notebooks need what pip install 'lift_mm[docs]' brings"
    nbformat = pytest.importorskip('nbformat', reason=reason)
    nbclient = pytest.importorskip('nbclient', reason=reason)
    pytest.importorskip('ipykernel', reason=reason)
    notebook = nbformat.read(NOTEBOOK, 4)
    where = dict(metadata=dict(path=str(small_checkout)))
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    outputs = [o for cell in notebook.cells for o in cell.get('outputs', ())]
    text = ''.join(o['text'] for o in outputs if 'text' in o)
    assert '35,605 parameters learned' in text
    assert 'nan' not in text.split('acc_few')[1]
    (picture,) = [o.data['image/png'] for o in outputs if 'data' in o]
    assert base64.b64decode(picture).startswith(b'\x89PNG')
