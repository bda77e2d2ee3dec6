"""Count the bytes that DDP reduces in a step against those that learn.

Two processes train on the CPU by gloo, in the DDP that a runner builds for
the recipes. A communication hook counts the gradients on their way; buffers
that DDP would broadcast before each forward pass are counted as well. Full
fine-tuning stands beside LIFT. The exit code tells whether each reduces what
it learns and nothing else.
"""

import argparse
import os
import socket
import sys
import tempfile
from pathlib import Path

import torch
import torch.multiprocessing
from measure import table
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from lift_mm import compat
from lift_mm.clip.arch import model_config, vision_config
from lift_mm.tuners import learned_parameters

TUNERS = {
    'LIFT': [dict(type='AdaptFormer', hidden_dims=32)],
    'full fine-tuning': [dict(type='FullTuning')],
}
# Of the second step: after the first, DDP sorts its buckets.
ROWS = (
    'model',
    'learned',
    'reduced in a step',
    'reduced / learned',
    'buffers broadcast',
    'search for unused',
)


def recipe(arch: str, classes: int, tuners: list, work_dir: str) -> Config:
    """Give the config of a model and its optimizer, as recipes have them."""
    vision = vision_config(model_config(arch))
    return Config(
        dict(
            default_scope='mmpretrain',
            launcher='pytorch',
            work_dir=work_dir,
            model=dict(
                type='lift_mm.LongTailClassifier',
                backbone=dict(
                    type='lift_mm.TunedBackbone',
                    backbone=dict(type='lift_mm.CLIPViT', arch=arch),
                    tuners=tuners,
                ),
                head=dict(
                    type='lift_mm.CosineHead',
                    num_classes=classes,
                    in_channels=vision['width'],
                ),
            ),
            optim_wrapper=dict(
                constructor='lift_mm.TunedOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
            ),
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
            log_level='ERROR',
        )
    )


class Traffic:
    """Bytes that a DDP sends, by what they are for."""

    def __init__(self, ddp: DistributedDataParallel) -> None:
        self.reduced = self.broadcast = 0
        ddp.register_comm_hook(None, self._reduce)
        self._send = ddp._distributed_broadcast_coalesced
        ddp._distributed_broadcast_coalesced = self._broadcast

    def _reduce(self, group, bucket) -> torch.futures.Future[torch.Tensor]:
        self.reduced += bucket.buffer().nbytes
        return default_hooks.allreduce_hook(group, bucket)

    def _broadcast(self, tensors, *args, **kwargs) -> None:
        self.broadcast += sum(tensor.nbytes for tensor in tensors)
        self._send(tensors, *args, **kwargs)


def count(cfg: Config) -> dict[str, float]:
    """Train two steps in this process, and give the numbers of ``ROWS``."""
    optimizer = cfg.pop('optim_wrapper')  # without data, a runner has none
    ddp = Runner.from_cfg(cfg).model
    wrapper = build_optim_wrapper(ddp, optimizer)
    traffic, side = Traffic(ddp), ddp.module.backbone.img_size[0]
    data = dict(
        inputs=torch.randn(1, 3, side, side),
        data_samples=[DataSample().set_gt_label(get_rank())],
    )
    ddp.train()
    for _ in range(2):
        traffic.reduced = traffic.broadcast = 0
        ddp.train_step(data, wrapper)
    learned = learned_parameters(ddp.module).values()
    model, learned = (
        sum(parameter.nbytes for parameter in parameters)
        for parameters in (ddp.module.parameters(), learned)
    )
    numbers = (
        model,
        learned,
        traffic.reduced,
        traffic.reduced / learned,
        traffic.broadcast,
        int(ddp.find_unused_parameters),
    )
    return dict(zip(ROWS, numbers))


def work(
    rank: int, port: int, folder: str, arch: str, classes: int, tuners: dict
) -> None:
    """Be one of two processes; save what :func:`count` gives."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    found = {}
    for name, chosen in tuners.items():
        cfg = recipe(arch, classes, chosen, folder)
        cfg.experiment_name = name
        compat.cpu_distributed(cfg)
        found[name] = count(cfg)
    torch.save(found, Path(folder, f'{rank}.pt'))
    torch.distributed.destroy_process_group()


def measure(arch: str, classes: int, tuners: dict) -> list[dict]:
    """Give the numbers of ``ROWS`` for some ways of tuning, of both ranks.

    Args:
        arch: Of the CLIP.
        classes: Their number.
        tuners: Lists of tuners by name.
    """
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(
            work, (port, folder, arch, classes, tuners), nprocs=2
        )
        return [
            torch.load(Path(folder, f'{rank}.pt'), weights_only=True)
            for rank in range(2)
        ]


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arch', default='ViT-B-16', help='open_clip model, or a JSON file'
    )
    parser.add_argument('--classes', type=int, default=1000)
    return parser.parse_args(args)


def main(args=None) -> int:
    args = parse_args(args)
    found, _ = measure(args.arch, args.classes, TUNERS)
    print(f'{args.arch}, {args.classes} classes, two processes, bytes')
    print(table(found, {row: 4 if '/' in row else 0 for row in ROWS}))
    return sum(
        each['reduced in a step'] != each['learned']
        or each['buffers broadcast'] != 0
        for each in found.values()
    )


if __name__ == '__main__':
    sys.exit(main())
