"""Files hold what was learned and little else, whoever tunes."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH, LAYERS, CLASSES = 32, 12, 1000
# As many tensors and class names as in the recipes of ImageNet-LT, with few
# numbers in them: what comes on top of those is that of the real size.
ARCH = dict(
    embed_dim=8,
    vision_cfg=dict(
        image_size=16, layers=LAYERS, width=WIDTH, head_width=16, patch_size=8
    ),
)
# Numbers that learn outside of the head, by the width.
LEARNED = {
    'AdaptFormer': lambda d: LAYERS * (2 * d + 64 * d + 32 + d + 1),
    'LoRA': lambda d: LAYERS * 4 * 32 * d,
    'BitFit': lambda d: LAYERS * 11 * d,
    'linear probe': lambda d: 0,
}


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    return importlib.import_module('checkpoint_size')


def test_bytes(tool, tmp_path):
    arch = tmp_path / 'arch.json'
    arch.write_text(json.dumps(ARCH))
    argv = ['--arch', str(arch), '--classes', str(CLASSES), '--tuners']
    found = tool.measure_all(tool.parse_args([*argv, *LEARNED]))
    assert list(found) == list(LEARNED)
    for name, sizes in found.items():
        learned, published, _, kept, checkpoint, _ = sizes.values()
        small, real = (
            4 * (LEARNED[name](width) + CLASSES * width)
            for width in (WIDTH, 768)
        )
        assert learned == small and kept == 2 * small, name
        more = (published - learned, checkpoint - kept)
        at_real_size = (
            real,
            real + more[0],
            0,
            2 * real,
            2 * real + more[1],
            0,
        )
        assert min(more) > 0
        assert tool.within_bar(dict(zip(tool.ROWS, at_real_size))), name
        assert more[0] < 64 * 1024, name


def test_bar(tool):
    sizes = (1000000, 1100000, 1.1, 2000000, 2100000, 1.05)
    found = dict(zip(tool.ROWS, sizes))
    assert tool.within_bar(found)
    assert not tool.within_bar({**found, 'published (MB)': 1115537})
    assert not tool.within_bar({**found, 'checkpoint (MB)': 2165537})
