"""Time a training step, ours against a straightforward one, in turn.

ViT with AdaptFormer and a cosine head, random weights, the same in all. The
columns are the straightforward step, ours (--variants), "plain": the forward
pass of the frozen tower without a graph, and "products": the matrix products
of a step and nothing else. Times are medians, ratios the medians of the
ratios of each round.

A variant joins options by "+":
  default            as a config gives it
  fast=False         without fused functions
  recompute=mlp      computes hidden units of MLPs again; "mlp" for short
  recompute=block    computes whole blocks again; "block" for short
  compile            torch.compile
  bfloat16, float16  keeps frozen weights in that type

"saved" is what the graph keeps for the backward pass, without parameters and
buffers. "peak" is what a step needs while it runs, on top of what is there
before: allocated on a GPU, else resident in a fresh process (Linux). The
"square rate" is that of large square matrix products on this device, in the
type that ours computes in.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

import torch
from measure import (
    MIB,
    alternate,
    cuda_peak,
    matmul_rate,
    median_ratio,
    resident_peak,
    saved_bytes,
    table,
)
from steps import (
    OPTIONS,
    STRAIGHTFORWARD,
    bare_products,
    build_step,
    plain_forward,
    sizes,
)
from straightforward import products

# Rows of the table and their digits behind the point.
DIGITS = {
    'forward, ms': 1,
    'backward, ms': 1,
    'optimizer, ms': 2,
    'step, ms': 1,
    'images/s': 2,
    'step / straightforward': 3,
    'step / plain': 3,
    'products / step': 3,
    'FLOP/s / square rate': 3,
    'saved, MiB/image': 1,
    'saved / straightforward': 3,
    'peak, MiB': 0,
    'first step, s': 1,
    'first loss': 4,
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--variants', nargs='+', default=['default'])
    parser.add_argument('--arch', default='ViT-B-16', help='open_clip model')
    parser.add_argument('--image', type=int, default=224, help='side, pixels')
    parser.add_argument('--num-classes', type=int, default=1000)
    parser.add_argument('--bottleneck', type=int, default=32)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument(
        '--half',
        action='store_true',
        help='autocast on a GPU: ours in bfloat16 where the GPU has it, the '
        'straightforward step in float16 with a loss scale',
    )
    parser.add_argument('--json', help='file for the numbers')
    args = parser.parse_args(argv)
    for variant in args.variants:
        unknown = set(variant.split('+')) - OPTIONS.keys()
        if unknown:
            parser.error(
                f'--variants: unknown {", ".join(sorted(unknown))}; '
                f'possible: {", ".join(OPTIONS)}, joined by "+"'
            )
    if min(args.batch_size, args.rounds) < 1:
        parser.error('needs --batch-size >= 1 and --rounds >= 1')
    args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if args.half and args.device == 'cpu':
        parser.error('--half needs a GPU, and torch sees none')
    return args


def type_of(args: argparse.Namespace) -> torch.dtype:
    """Give the type that ours computes in."""
    if not args.half:
        return torch.float32
    from lift_mm.accelerator import half_dtype

    return getattr(torch, half_dtype())


def measure(args: argparse.Namespace) -> dict:
    """Build everything, let it take turns, and give the numbers."""
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = type_of(args)
    names = list(dict.fromkeys([STRAIGHTFORWARD, *args.variants]))
    steps = {name: build_step(args, name) for name in names}
    work = list(products(args.batch_size, **sizes(steps[names[-1]].net, args)))
    flop = sum(job.flop for job in work)
    columns: dict[str, dict[str, float | None]] = {}
    for name, step in steps.items():  # here torch.compile does its work
        spent = step()['step']
        columns[name] = {
            'first step, s': spent,
            'first loss': step.value.item(),
        }
    device = torch.device(args.device)
    rate = matmul_rate(device, dtype, 8192 if args.device == 'cuda' else 2048)
    found = alternate(
        {
            **steps,
            'plain': plain_forward(args, dtype),
            'products': bare_products(work, args.device, dtype),
        },
        args.rounds,
    )
    for name, column in compare(found).items():
        columns.setdefault(name, {}).update(column)
    for name, step in steps.items():
        column = columns[name]
        column['images/s'] = 1e3 * args.batch_size / column['step, ms']
        saved = saved_bytes(step.loss, step.net) / args.batch_size
        base = columns[STRAIGHTFORWARD].get('saved, MiB/image', saved / MIB)
        column['saved, MiB/image'] = saved / MIB
        column['saved / straightforward'] = saved / MIB / base
        column['peak, MiB'] = peak(args, name, step)
    for name in (*steps, 'products'):
        done = flop / (columns[name]['step, ms'] / 1e3)
        columns[name]['FLOP/s / square rate'] = done / rate
    return dict(
        setting=vars(args),
        device=describe(args),
        gflop=flop / 1e9,
        square_gflops=rate / 1e9,
        columns=columns,
    )


def compare(found: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """Turn seconds of all rounds into milliseconds and ratios."""
    whole = {
        name: [spent['step'] for spent in rounds]
        for name, rounds in found.items()
    }
    columns = {}
    for name, rounds in found.items():
        columns[name] = {
            f'{part}, ms': 1e3 * statistics.median(x[part] for x in rounds)
            for part in rounds[0]
        }
        ratios = {
            f'step / {base}': median_ratio(whole[name], whole[base])
            for base in (STRAIGHTFORWARD, 'plain')
        }
        columns[name] |= ratios
        if name != 'plain':  # whose products are fewer
            share = median_ratio(whole['products'], whole[name])
            columns[name]['products / step'] = share
    return columns


def peak(args: argparse.Namespace, name: str, step) -> float | None:
    """Give the MiB that a step needs while it runs, if that is known."""
    if args.device == 'cuda':
        found = cuda_peak(step)
    else:
        found = resident_peak(build_step, args, name)
    return None if found is None else found / MIB


def describe(args: argparse.Namespace) -> str:
    if args.device == 'cuda':
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f'CPU of {os.cpu_count()} cores, {threads} threads, no GPU'


def report(found: dict) -> str:
    """Lay out the numbers for people."""
    setting = found['setting']
    types = 'autocast' if setting['half'] else 'fp32'
    return '\n'.join(
        [
            f'{setting["arch"]} at {setting["image"]}, '
            f'batch {setting["batch_size"]}, {types}, '
            f'{setting["rounds"]} rounds',
            f'{found["device"]}, torch {torch.__version__}',
            f'{found["gflop"]:.1f} GFLOP a step; square rate '
            f'{found["square_gflops"]:.0f} GFLOP/s',
            table(found['columns'], DIGITS),
        ]
    )


def main() -> None:
    args = parse_args()
    found = measure(args)
    print(report(found))
    if args.json:
        part = Path(f'{args.json}.part')
        part.write_text(json.dumps(found, indent=2) + '\n')
        os.replace(part, args.json)


if __name__ == '__main__':
    main()
