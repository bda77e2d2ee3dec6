"""Time testing, ours against a straightforward way, in turn.

ViT with AdaptFormer and a cosine head, random weights. "tuned" is ours with
tuners, "merged" ours with the tuners folded into the weights.

The first table is of one view, from images to logits; "plain" is the frozen
tower alone, without tuners and head. The second is of several crops, from
pixels to scores: ours within MeanLogitTTA, and a straightforward way, which
lets one crop after the other through a net with the branch written plainly.

Times are medians, ratios the medians of the ratios of each round.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from measure import Clock, alternate, median_ratio, table
from steps import STRAIGHTFORWARD, build_ours, sizes
from straightforward import StraightforwardViT
from torch import Tensor, nn
from train_step import describe, type_of

MEAN, STD = 127.5, 64.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--arch', default='ViT-B-16', help='open_clip model')
    parser.add_argument('--image', type=int, default=224, help='side, pixels')
    parser.add_argument('--num-classes', type=int, default=1000)
    parser.add_argument('--bottleneck', type=int, default=32)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--crops', type=int, default=5)
    parser.add_argument(
        '--max-batch', type=int, help='of MeanLogitTTA, instead of its own'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument(
        '--half',
        action='store_true',
        help='autocast on a GPU: ours and the plain tower in bfloat16 where '
        'the GPU has it, the straightforward way in float16',
    )
    args = parser.parse_args(argv)
    if min(args.batch_size, args.crops, args.rounds) < 1:
        parser.error('needs --batch-size, --crops and --rounds >= 1')
    args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if args.half and args.device == 'cpu':
        parser.error('--half needs a GPU, and torch sees none')
    return args


def build(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Build the nets; all that give logits have the same weights."""
    from mmpretrain.registry import MODELS

    from lift_mm.apis import merge
    from lift_mm.models import CLIPViT

    tuned = build_ours(args, 'default').eval()
    tuned.data_preprocessor = MODELS.build(
        dict(type='ClsDataPreprocessor', mean=[MEAN] * 3, std=[STD] * 3)
    )
    theirs = StraightforwardViT(**sizes(tuned, args))
    theirs.load_from(tuned)
    nets = {
        'plain': CLIPViT(args.arch, img_size=args.image, quick_gelu=True),
        STRAIGHTFORWARD: theirs,
        'tuned': tuned,
        'merged': merge(tuned, strict=True),
    }
    for net in nets.values():
        net.to(args.device)
        net.eval()  # returns nothing in some backbones of mmpretrain
    return nets


def make_batch(args: argparse.Namespace) -> dict:
    """Give a batch as a data loader does, in lists over the crops."""
    from mmpretrain.structures import DataSample

    rng = torch.Generator().manual_seed(1)
    shape = (args.batch_size, 3, args.image, args.image)
    pixels = [
        torch.randint(256, shape, dtype=torch.uint8, generator=rng)
        for _ in range(args.crops)
    ]
    samples = [[DataSample().set_gt_label(0) for _ in crop] for crop in pixels]
    return dict(inputs=pixels, data_samples=samples)


def prepare(args: argparse.Namespace, pixels: Tensor) -> Tensor:
    return (pixels.to(args.device).float() - MEAN) / STD


def timed(
    args: argparse.Namespace, dtype: torch.dtype, fn: Callable
) -> Callable[[], float]:
    """Give a function that calls another and gives the seconds of it."""

    @torch.no_grad()  # as in mmengine's loop
    def call() -> float:
        clock = Clock(torch.device(args.device))
        with torch.autocast(args.device, dtype, enabled=args.half):
            fn()
        clock.mark()
        (spent,) = clock.intervals()
        return spent

    return call


def one_view(
    args: argparse.Namespace, nets: dict[str, nn.Module]
) -> dict[str, Callable[[], float]]:
    """Give what takes turns for one view."""
    images = prepare(args, make_batch(args)['inputs'][0])
    return {
        name: timed(args, type_of(args), partial(nets[name], images))
        for name in ('plain', 'tuned', 'merged')
    }


def ways(
    args: argparse.Namespace, nets: dict[str, nn.Module]
) -> dict[str, Callable[[], Tensor]]:
    """Give the ways that lead from several crops to scores, (B, C)."""
    from lift_mm.models import MeanLogitTTA

    batch = make_batch(args)
    given = {} if args.max_batch is None else dict(max_batch=args.max_batch)

    def straightforward() -> Tensor:
        net, crops = nets[STRAIGHTFORWARD], batch['inputs']
        logits = sum(net(prepare(args, crop)) for crop in crops)
        return (logits / len(crops)).softmax(dim=1).cpu()

    def ours(tta: MeanLogitTTA) -> Tensor:
        found = tta.test_step(batch)
        return torch.stack([sample.pred_score for sample in found]).cpu()

    found = {STRAIGHTFORWARD: straightforward}
    for name in ('tuned', 'merged'):
        tta = MeanLogitTTA(nets[name], **given).eval()
        found[name] = partial(ours, tta)
    return found


def all_crops(
    args: argparse.Namespace, nets: dict[str, nn.Module]
) -> dict[str, Callable[[], float]]:
    """Give what takes turns for several crops."""
    half = torch.float16 if args.half else torch.float32
    return {
        name: timed(
            args, half if name == STRAIGHTFORWARD else type_of(args), way
        )
        for name, way in ways(args, nets).items()
    }


def compare(found: dict[str, list[float]], images: int) -> dict[str, dict]:
    """Turn seconds of all rounds into a table's columns."""
    first = next(iter(found))
    return {
        name: {
            'ms': 1e3 * statistics.median(spent),
            'images/s': images / statistics.median(spent),
            f'time / {first}': median_ratio(spent, found[first]),
            f'speed / {first}': median_ratio(found[first], spent),
        }
        for name, spent in found.items()
    }


@torch.no_grad()
def difference(args: argparse.Namespace, nets: dict[str, nn.Module]) -> float:
    """Give the largest difference of logits in fp32, over their largest."""
    images = prepare(args, make_batch(args)['inputs'][0])
    logits = nets[STRAIGHTFORWARD](images)
    others = (nets[name](images) for name in ('tuned', 'merged'))
    apart = max((other - logits).abs().max() for other in others)
    return float(apart / logits.abs().max())


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    nets = build(args)
    types = f'autocast to {type_of(args)}' if args.half else 'fp32'
    print(
        f'{args.arch} at {args.image}, batch {args.batch_size}, {types}, '
        f'{args.rounds} rounds\n'
        f'{describe(args)}, torch {torch.__version__}\n'
        f'logits differ by {difference(args, nets):.1e} of the largest'
    )
    for title, turns in (
        ('one view', one_view(args, nets)),
        (f'{args.crops} crops', all_crops(args, nets)),
    ):
        found = compare(alternate(turns, args.rounds), args.batch_size)
        rows = next(iter(found.values()))
        digits = {row: 3 if '/ ' in row else 1 for row in rows}
        print(f'\n{title}\n{table(found, digits)}', flush=True)


if __name__ == '__main__':
    main()
