"""Load a list of the size of iNaturalist 2018, ours and MMPretrain's way.

Each dataset is built in a fresh process. "seconds" is the constructor alone,
"peak" the largest resident memory above that after the imports. Then each
worker of a data loader reads every item once. "private" is its memory that
no other process shares (the unique set size, Private_* of
/proc/self/smaps_rollup), which every further worker costs again; "by reading"
is how much of it came with the items. It would be the size of the list if
the items were Python objects, whose reference counts force a copy.

Times work anywhere, memory only on Linux.
"""

import argparse
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

CLASSES = 8142
LINUX = sys.platform == 'linux'
UNITS = {
    'seconds': 's',
    'peak': 'MiB',
    'private': 'MiB a worker',
    'by reading': 'MiB a worker',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--lines', type=int, default=437513)
    parser.add_argument('--workers', type=int, default=4)
    args = parser.parse_args()
    if args.lines < CLASSES or args.workers < 0:
        parser.error(f'needs --lines >= {CLASSES} and --workers >= 0')
    return args


def write_list(path: Path, lines: int) -> None:
    """Write lines as long as those of iNaturalist 2018, all classes in it."""
    rng = random.Random(0)
    with open(path, 'w') as file:
        for number in range(lines):
            label = number % CLASSES
            file.write(
                f'train_val2018/Plantae/{label}/'
                f'{rng.getrandbits(128):032x}.jpg {label}\n'
            )


def ours(path: str):
    from lift_mm.datasets import LongTailList

    names = [f'species {label}' for label in range(CLASSES)]
    return lambda: LongTailList(path, classes=names, check_files='none')


def mmpretrain(path: str):
    from mmpretrain.datasets import CustomDataset

    names = [f'species {label}' for label in range(CLASSES)]
    return lambda: CustomDataset(ann_file=path, metainfo=dict(classes=names))


def memory(file: str, *keys: str) -> float:
    """Sum entries of a file in /proc/self, in MiB."""
    lines = Path('/proc/self', file).read_text().splitlines()
    return sum(int(x.split()[1]) for x in lines if x.startswith(keys)) / 1024


def private() -> float:
    return memory('smaps_rollup', 'Private_Clean:', 'Private_Dirty:')


class ReadAll:
    """A dataset with one sample for each worker: what reading all costs."""

    def __init__(self, dataset, workers: int) -> None:
        self.dataset = dataset
        self.workers = workers

    def __len__(self) -> int:
        return self.workers

    def __getitem__(self, _: int) -> tuple[float, float]:
        before = private()
        for index in range(len(self.dataset)):
            self.dataset.get_data_info(index)
        return private(), private() - before


def measure(prepare: Callable, path: str, workers: int) -> dict[str, float]:
    """Build a dataset, read it in workers, and say what that took."""
    import lift_mm  # noqa: F401  (repairs what a current environment needs)

    build = prepare(path)
    if LINUX:
        # The peak of the imports does not count.
        Path('/proc/self/clear_refs').write_text('5')
        before = memory('status', 'VmRSS:')
    begin = time.perf_counter()
    dataset = build()
    found = dict(seconds=time.perf_counter() - begin)
    if not LINUX:
        return found
    found['peak'] = memory('status', 'VmHWM:') - before
    if workers:
        from torch.utils.data import DataLoader

        loader = DataLoader(
            ReadAll(dataset, workers),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context='fork',
        )
        whole, grown = zip(*loader, strict=True)
        found['private'] = statistics.mean(whole)
        found['by reading'] = statistics.mean(grown)
    return found


def main() -> None:
    args = parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'list.txt')
        write_list(path, args.lines)
        for prepare in (ours, mmpretrain):
            context = multiprocessing.get_context('spawn')
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                job = pool.submit(measure, prepare, str(path), args.workers)
                found[prepare] = job.result()
    print(f'{args.lines} lines, {args.workers} workers')
    print(f'{"":12}{"ours":>9}{"mmpretrain":>12}{"ratio":>8}')
    for name, value in found[ours].items():
        other = found[mmpretrain][name]
        ratio = f'{value / other:8.2f}' if other > 0 else f'{"-":>8}'
        print(f'{name:12}{value:9.2f}{other:12.2f}{ratio} {UNITS[name]}')
    if not LINUX:
        print('memory is measured on Linux only')


if __name__ == '__main__':
    main()
