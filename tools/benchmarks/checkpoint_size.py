"""Count the bytes of checkpoints against those of what was learned.

For each way of tuning a runner trains one step of two random pictures and
saves, with the hooks of the recipes; then the checkpoint is published. The
published file may have 5 % and 64 KiB more than the learned tensors (with the
positions of MaskedTuning's), the checkpoint so much more than these and the
optimizer's state. The exit code tells whether all of them do.
"""

import argparse
import contextlib
import importlib.util
import io
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from measure import table
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import lift_mm  # noqa: F401  (repairs what a current environment needs)
from lift_mm.clip.arch import model_config, vision_config
from lift_mm.models import CLIPViT
from lift_mm.safe_load import load_file

PUBLISH = Path(__file__).parents[1] / 'model_converters/publish_tuned.py'
TUNERS = {
    'AdaptFormer': [dict(type='AdaptFormer', hidden_dims=32)],
    'Adapter': [dict(type='Adapter', hidden_dims=32)],
    'LoRA': [dict(type='LoRA', rank=32)],
    'SSF': [dict(type='SSF')],
    'VPT': [dict(type='VPT', length=10)],
    'MaskedTuning': [dict(type='MaskedTuning', ratio=0.009)],
    'BitFit': [dict(type='BitFit')],
    'NormTuning': [dict(type='NormTuning')],
    'linear probe': [],
    'full, last block': [dict(type='FullTuning', layers=1)],
}
ROWS = (
    'learned (MB)',
    'published (MB)',
    'ratio',
    'and optimizer (MB)',
    'checkpoint (MB)',
    'ratio of these',
)


def write_data(folder: Path, classes: int) -> dict:
    """Write one small picture for each class, and give the dataset."""
    for label in range(classes):
        room = folder / f'thing number {label:05d}'
        room.mkdir(parents=True)
        pixels = np.full((16, 16, 3), label % 256, np.uint8)
        Image.fromarray(pixels).save(room / '0.png')
    return dict(type='lift_mm.LongTailFolder', data_root=str(folder), split='')


def recipe(args, tuners: list, weights: Path, data: dict) -> Config:
    """Give the config of a training of one step."""
    vision = vision_config(model_config(args.arch))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=vision['image_size']),
        dict(type='PackInputs'),
    ]
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='lift_mm.LongTailClassifier',
                data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
                backbone=dict(
                    type='lift_mm.TunedBackbone',
                    backbone=dict(
                        type='lift_mm.CLIPViT',
                        arch=args.arch,
                        pretrained=str(weights),
                    ),
                    tuners=tuners,
                ),
                head=dict(
                    type='lift_mm.CosineHead',
                    num_classes=args.classes,
                    in_channels=vision['width'],
                    loss=dict(type='lift_mm.LogitAdjustedLoss'),
                ),
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dict(data, pipeline=pipeline),
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=1),
            optim_wrapper=dict(
                constructor='lift_mm.TunedOptimWrapperConstructor',
                optimizer=dict(
                    type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4
                ),
            ),
            param_scheduler=dict(type='CosineAnnealingLR', T_max=1),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', by_epoch=False, interval=1
                )
            ),
            custom_hooks=[
                dict(type='lift_mm.ClassInfoHook'),
                dict(type='lift_mm.TunedCheckpointHook'),
                dict(type='lift_mm.ProtocolHook'),
            ],
            log_level='ERROR',
        )
    )


def publish(config: Path, checkpoint: Path, folder: Path) -> Path:
    """Call the tool, and give the file that it writes."""
    spec = importlib.util.spec_from_file_location('publish_tuned', PUBLISH)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.publish(
        tool.parse_args([str(config), str(checkpoint), str(folder)])
    )


def size(value) -> int:
    """Count the bytes of all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(size, value)) if isinstance(value, (list, tuple)) else 0


def measure(args, name: str, weights: Path, data: dict) -> dict[str, float]:
    """Train, save and publish; give the numbers of ``ROWS``, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cfg = recipe(args, TUNERS[name], weights, data)
        cfg.dump(folder / 'recipe.py')
        cfg.work_dir, cfg.experiment_name = str(folder), f'{name}-{folder}'
        # Half a second of asking compilers for their versions.
        with mock.patch.object(Runner, '_log_env'):
            Runner.from_cfg(cfg).train()
        checkpoint = folder / 'iter_1.pth'
        published = publish(folder / 'recipe.py', checkpoint, folder / 'out')
        state = load_file(published)['state_dict']
        learned = size(state) - size(state['fingerprint'])
        kept = learned + size(load_file(checkpoint)['optimizer'])
        files = [file.stat().st_size for file in (published, checkpoint)]
    numbers = (learned, files[0], files[0] / learned)
    numbers += (kept, files[1], files[1] / kept)
    return dict(zip(ROWS, numbers))


def within_bar(found: dict[str, float]) -> bool:
    """Say whether both files have at most 5 % and 64 KiB more."""
    return all(
        found[file] <= 1.05 * found[needed] + 64 * 1024
        for needed, file in (
            ('learned (MB)', 'published (MB)'),
            ('and optimizer (MB)', 'checkpoint (MB)'),
        )
    )


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arch', default='ViT-B-16', help='open_clip model, or a JSON file'
    )
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument(
        '--tuners', nargs='+', choices=TUNERS, default=list(TUNERS)
    )
    return parser.parse_args(args)


def measure_all(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure what ``args.tuners`` names."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder, 'data'), args.classes)
        weights = Path(folder, 'base.pth')
        torch.save(CLIPViT(args.arch).state_dict(), weights)
        for name in args.tuners:
            with contextlib.redirect_stdout(io.StringIO()):
                found[name] = measure(args, name, weights, data)
    return found


def main() -> int:
    args = parse_args()
    found = measure_all(args)
    columns = {
        row: {
            name: numbers[row] / (1e6 if 'MB' in row else 1)
            for name, numbers in found.items()
        }
        for row in ROWS
    }
    failed = [name for name, each in found.items() if not within_bar(each)]
    print(f'{args.arch}, {args.classes} classes, SGD with momentum')
    print(table(columns, dict.fromkeys(found, 3)))
    print(f'above the bar: {", ".join(failed) or "none"}')
    return len(failed)


if __name__ == '__main__':
    sys.exit(main())
