"""The code in the documents runs."""

import re
import runpy
import sys

import numpy as np
import pytest
import torch
from embedded_demo import Demo
from miniature import REPO
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, DefaultScope
from parity_models import build

from lift_mm.registry import TUNERS
from lift_mm.tuners import disabled, learned_parameters

GUIDE = (REPO / 'docs' / 'write_a_tuner.md').read_text()


def blocks_of(text: str) -> list:
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


@pytest.fixture
def ia3(tmp_path, monkeypatch):
    (tmp_path / 'ia3.py').write_text(blocks_of(GUIDE)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    import ia3

    yield ia3
    sys.modules.pop('ia3')
    TUNERS.module_dict.pop('IA3')


def test_own_tuner(tmp_path, ia3):
    code = blocks_of(GUIDE)[0]
    assert len(code.strip().splitlines()) <= 40
    plain = build(tmp_path)
    model = build(tmp_path, [dict(type='IA3', layers=2)])
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.backbone(images)[0], plain.backbone(images)[0])
    learned = learned_parameters(model.backbone)
    assert learned.keys() == {
        f'layers.{i}.ia3.{name}' for i in (2, 3) for name in ('key', 'value')
    }
    with torch.no_grad():
        for parameter in learned.values():
            parameter.mul_(2)
    tuned = model.backbone(images)[0]
    assert not torch.allclose(tuned, plain.backbone(images)[0])
    with disabled(model):
        again = model.backbone(images)[0]
    assert torch.equal(again, plain.backbone(images)[0])
    tuned.sum().backward()
    assert all(p.grad is not None for p in learned.values())
    guard = model.backbone.frozen_base
    assert guard.tuners == [dict(type='IA3', layers=[2, 3])]


class Labelled(list):
    def get_gt_labels(self) -> np.ndarray:
        return np.array(self)


def test_sampler_of_the_page(tmp_path):
    (block,) = blocks_of((REPO / 'docs' / 'sampling.md').read_text())
    text = block.replace("'configs/", f"'{REPO}/configs/")
    (tmp_path / 'own.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'own.py')
    sampler = dict(cfg.train_dataloader.sampler)
    dataset = Labelled([0, 0, 1])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = DATA_SAMPLERS.build(sampler | dict(dataset=dataset, seed=0))
    assert type(built).__name__ == 'ClassAwareSampler'


def test_predictions_of_the_page(tmp_path, capsys):
    demo = Demo(tmp_path)
    tests = demo.images[0].parents[1]
    text = '\n'.join(blocks_of((REPO / 'docs' / 'try_it.md').read_text()))
    for given, here in (
        ('configs/demo/lift_fashion-mnist-lt.py', tmp_path / 'lift.py'),
        (
            'configs/demo/zero-shot_fashion-mnist-lt.py',
            tmp_path / 'zero-shot.py',
        ),
        ('work_dirs/demo/lift/epoch_5.pth', demo.checkpoint),
        ('data/fashion-mnist-lt/test', tests),
    ):
        assert given in text
        text = text.replace(given, str(here))
    image = re.search(r"image = '(.*)'", text)[1]
    text = text.replace(image, str(demo.images[0]))
    (tmp_path / 'page.py').write_text(text)
    names = runpy.run_path(str(tmp_path / 'page.py'))
    assert names['infer'].model.head.num_classes == 3
    said = capsys.readouterr().out
    assert all(str(path) in said for path in (tests / 'sandal').iterdir())
