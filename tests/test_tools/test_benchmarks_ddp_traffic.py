"""DDP reduces the gradients of what learns, once a step, and nothing else."""

import importlib
import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
ARCH = dict(
    embed_dim=8,
    vision_cfg=dict(
        image_size=16, layers=2, width=32, head_width=16, patch_size=8
    ),
)
CLASSES = 5


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    return importlib.import_module('ddp_traffic')


def test_bytes(tool, tmp_path):
    arch = tmp_path / 'arch.json'
    arch.write_text(json.dumps(ARCH))
    one, other = tool.measure(str(arch), CLASSES, tool.TUNERS)
    assert one == other
    branch = 2 * 32 + 2 * 32 * 32 + 32 + 32 + 1
    lift, full = one['LIFT'], one['full fine-tuning']
    assert lift['learned'] == 4 * (2 * branch + CLASSES * 32)
    assert lift['learned'] < full['learned'] < full['model']
    for found in one.values():
        assert found['reduced in a step'] == found['learned']
        assert found['buffers broadcast'] == found['search for unused'] == 0


@pytest.fixture
def gloo(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('broadcast', [False, True])
def test_what_is_counted(tool, gloo, broadcast):
    """A net with a buffer, in the default DDP and in ours."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    net[0].bias.requires_grad_(False)
    ddp = torch.nn.parallel.DistributedDataParallel(
        net, broadcast_buffers=broadcast
    )
    traffic = tool.Traffic(ddp)
    ddp(torch.randn(2, 3)).sum().backward()
    assert traffic.reduced == 4 * (12 + 4 + 4)
    # Mean and variance in float32, the number of batches in int64.
    assert traffic.broadcast == broadcast * (2 * 4 * 4 + 8)
