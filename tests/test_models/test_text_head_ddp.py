"""Two processes with half a batch each learn what one does with all of it."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmpretrain.structures import DataSample
from test_models.test_text_head import METHODS, classifier, learn

from lift_mm.tuners import learned_parameters

TESTS = Path(__file__).parents[1]
STEPS = 3


def train(model, part: slice) -> dict:
    """Take some steps on a part of a batch of four."""
    inside = getattr(model, 'module', model)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(STEPS, 4, 3, 16, 16, generator=generator)
    samples = [DataSample().set_gt_label(i) for i in (0, 1, 2, 1)]
    learned = learned_parameters(inside)
    optimizer = torch.optim.SGD(learned.values(), lr=0.01, momentum=0.9)
    model.train()
    for batch in images:
        optimizer.zero_grad()
        loss = model(batch[part], samples[part], mode='loss')['loss']
        loss.backward()
        optimizer.step()
    return {key: value.detach() for key, value in learned.items()}


def build(folder):
    model = classifier(folder, dict(METHODS['all'], chunk_size=2))
    return learn(model, size=0.05)


def work(rank: int, folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    meet = f'file://{folder}/meet'
    dist.init_process_group('gloo', meet, rank=rank, world_size=2)
    own = folder / str(rank)  # the CLIP is written and read there
    own.mkdir()
    model = MMDistributedDataParallel(build(own))
    found = train(model, slice(2 * rank, 2 * rank + 2))
    torch.save(found, folder / f'rank{rank}.pt')
    dist.destroy_process_group()


def test_two_ranks_are_one(tmp_path):
    start = build(tmp_path)
    before = {k: v.clone() for k, v in learned_parameters(start).items()}
    expected = train(start, slice(0, 4))
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), *sys.path])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env=dict(os.environ, PYTHONPATH=path),
        )
        for rank in (0, 1)
    ]
    try:
        assert [p.wait(timeout=240) for p in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    ranks = [
        torch.load(tmp_path / f'rank{rank}.pt', weights_only=True)
        for rank in (0, 1)
    ]
    for key, value in expected.items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        change = value - before[key]
        assert change.any(), key
        error = (ranks[0][key] - value).norm()
        assert error <= 1e-4 * change.norm(), key


if __name__ == '__main__':
    work(int(sys.argv[1]), Path(sys.argv[2]))
