"""Export a trained model to one file: ONNX, torch.export or TorchScript.

The file reads RGB images 0..255, resized and cropped, and gives logits; it
says how a picture becomes such an image and what the classes are called.
It is compared with the model on random and on real images, and is not
written where they differ.
"""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmpretrain.registry import DATASETS
from torch import Tensor

from lift_mm import deploy
from lift_mm.apis import build_tuned, export

_TYPES = dict(uint8=torch.uint8, float32=torch.float32)
_NUMBER = 7  # images of the test set: one alone, then twice three


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the config of the training run')
    parser.add_argument('checkpoint', help='a checkpoint of it')
    endings = ', '.join(deploy.ENDINGS.values())
    parser.add_argument('out', help=f'what to write: {endings}')
    parser.add_argument(
        '--format',
        choices=list(deploy.ENDINGS),
        help='for another ending of OUT',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        help='images to compare on; by default some of the test set',
    )
    parser.add_argument(
        '--dtype',
        choices=list(_TYPES),
        default='uint8',
        help='type of the images that the file reads (default: uint8)',
    )
    parser.add_argument(
        '--opset',
        type=int,
        help=f'version of the ONNX operators (default: {deploy.OPSET})',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args(args)


def test_images(cfg: Config) -> Tensor | None:
    """Give images spread over the test set, (N, 3, H, W), if it is there."""
    try:
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    except (OSError, ValueError) as error:
        print(f'Not compared on images of the test set: {error}')
        return None
    number = min(_NUMBER, len(dataset))
    spread = [i * len(dataset) // number for i in range(number)]
    return torch.stack([dataset[i]['inputs'] for i in spread])


def main(args=None) -> None:
    args = parse_args(args)
    deploy.kind_of(args.out, args.format, args.opset)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if str(cfg.model.type).endswith('TTA'):
        raise ValueError(
            f'model.type={cfg.model.type!r} was left by a test with --tta, '
            'whose crops are no part of an exported model; give the config '
            'of the training (argument `config`).'
        )
    model, _ = build_tuned(cfg, args.checkpoint)
    pipeline = deploy.test_pipeline(model)
    deploy.describe(pipeline)  # before a test set is searched
    if args.images:
        images = deploy.read_images(pipeline, args.images)
    else:
        images = test_images(cfg)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    found = export(
        model,
        out,
        format=args.format,
        images=images,
        dtype=_TYPES[args.dtype],
        opset=args.opset,
    )
    for name, share in found.items():
        print(
            f'Largest logit difference on {name}: {share:.1e} of the largest '
            'logit.'
        )
    kind = deploy.kind_of(args.out, args.format)
    if kind == 'onnx':
        print(f'Opset: {args.opset or deploy.OPSET}')
    print(f'Written: {out} ({out.stat().st_size / 1e6:.1f} MB, {kind})')


if __name__ == '__main__':
    main()
