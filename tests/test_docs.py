"""The code in the documents runs."""

import re
import sys

import pytest
import torch
from miniature import REPO
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
