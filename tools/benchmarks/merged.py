"""Time a merged AdaptFormer ViT against the plain one, in turn."""

import argparse
import copy
import statistics
import time

import torch

from lift_mm.apis import merge
from lift_mm.models import CLIPViT
from lift_mm.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', default='ViT-B-16', help='open_clip model')
    parser.add_argument('--num-classes', type=int, default=1000)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=24)
    parser.add_argument('--threads', type=int, help='of the CPU')
    return parser.parse_args()


def seconds(net, images) -> float:
    begin = time.perf_counter()
    net(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


@torch.inference_mode()
def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    plain = CLIPViT(args.arch).to(device)
    plain.eval()
    tuned = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=dict(type='lift_mm.CLIPViT', arch=args.arch),
                tuners=[dict(type='AdaptFormer')],
            ),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=args.num_classes,
                in_channels=plain.embed_dims,
            ),
        )
    ).to(device)
    tuned.eval()
    nets = dict(plain=plain, tuned=tuned.backbone, merged=None)
    # A copy lies in fresh memory, as weights do that a file has brought;
    # those that the merge itself leaves behind are scattered.
    nets['merged'] = copy.deepcopy(merge(tuned, strict=True).backbone)
    size = plain.img_size[0]
    images = torch.randn(args.batch_size, 3, size, size, device=device)
    times = {name: [] for name in nets}
    for number in range(args.rounds + 1):
        order = list(nets)
        for name in order[number % 3 :] + order[: number % 3]:
            spent = seconds(nets[name], images)
            if number:  # the first round warms up
                times[name].append(spent)
    print(f'{args.arch}, batch {args.batch_size}, {device}, fp32')
    for name, spent in times.items():
        ratio = statistics.median(
            one / plain for one, plain in zip(spent, times['plain'])
        )
        median = 1e3 * statistics.median(spent)
        print(f'{name:<8}{median:9.1f} ms{ratio:8.3f} of plain')


if __name__ == '__main__':
    main()
