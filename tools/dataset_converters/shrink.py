"""Copy a folder of images with fewer pixels, which loads faster.

Every image of SRC whose short side is longer than --short-side is written to
DST with that short side; other images and files are copied as they are, and
archives are left out. Paths and names stay, so lists, class folders and
configs fit: set ``data_root`` to DST. SRC is only read. A run that was cut
off goes on where it was. Published numbers belong to the original pixels.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

from rich.filesize import decimal

from lift_mm.datasets.published import write_files
from lift_mm.datasets.shrink import (
    Outcome,
    find_files,
    is_image,
    shrink_file,
    shrunken,
)
from lift_mm.progress import track

MARKER = '.shrunk.json'  # says in DST what made it
SAMPLE = 200  # images that --dry-run looks at
NAMED = 10  # files named in the summary
ARCHIVES = tuple(e for form in shutil.get_unpack_formats() for e in form[1])


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', metavar='SRC', help='folder of the images')
    parser.add_argument('dst', metavar='DST', help='folder of the copies')
    parser.add_argument(
        '--short-side', type=int, default=256, help='in pixels (default: 256)'
    )
    parser.add_argument(
        '--quality',
        type=int,
        default=95,
        help='of JPEG and WebP, from 1 to 100 (default: 95)',
    )
    parser.add_argument(
        '--lists',
        nargs='+',
        default=[],
        metavar='LIST',
        help='lists of "path label" lines; only images in them are copied',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count() or 1,
        help='processes (default: one for each core)',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help=f'tell the bytes of {SAMPLE} images, write nothing',
    )
    parser.add_argument(
        '--force', action='store_true', help='do again what is done'
    )
    args = parser.parse_args(args)
    for key, most in (('short_side', 65535), ('quality', 100), ('jobs', 999)):
        if not 1 <= vars(args)[key] <= most:
            option = '--' + key.replace('_', '-')
            parser.error(f'{option} {vars(args)[key]}: not from 1 to {most}')
    return args


def choose(paths: Iterable[str], lists: Sequence[str]) -> list[str]:
    """Leave out archives, and images that no list names."""
    paths = [path for path in paths if os.path.basename(path) != MARKER]
    archives = [path for path in paths if path.lower().endswith(ARCHIVES)]
    if archives:
        print(f'{len(archives)} archives are left out, as {archives[0]!r}.')
    paths = [path for path in paths if not path.lower().endswith(ARCHIVES)]
    if lists:
        # Names on disk need not be UTF-8 either.
        how = dict(encoding='utf-8-sig', errors='surrogateescape')
        wanted = {
            os.path.normpath(line.strip().rsplit(maxsplit=1)[0])
            for name in lists
            for line in Path(name).read_text(**how).split('\n')
            if line.strip()
        }
        missing = sorted(wanted.difference(paths))
        if missing:
            raise ValueError(
                f'{len(missing)} of {len(wanted)} images of the lists are '
                f'not in SRC, first {missing[0]!r}; the paths in --lists '
                'must start from SRC.'
            )
        paths = [x for x in paths if x in wanted or not is_image(x)]
    if not any(map(is_image, paths)):
        raise ValueError('SRC has no image; choose another folder.')
    return paths


def refuse_mixture(dst: Path, settings: dict) -> None:
    """Refuse a folder with other files than those of these settings."""
    if not dst.is_dir() or not any(dst.iterdir()):
        return
    try:
        made_with = json.loads((dst / MARKER).read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError, RecursionError):
        made_with = None
    if not made_with:
        raise ValueError(
            f'DST {str(dst)!r} holds files that this tool did not write; '
            'choose a new or empty folder.'
        )
    if made_with != settings:
        raise ValueError(
            f'DST {str(dst)!r} was made with {made_with}, not with '
            f'{settings}; choose another folder, or the same --short-side '
            'and --quality.'
        )


def refuse_collisions(dst: Path, paths: Sequence[str]) -> None:
    """Refuse names that a file system without case cannot tell apart."""
    if (dst / MARKER.upper()).exists():
        names = Counter(map(str.casefold, paths))
        same = [x for x in paths if names[x.casefold()] > 1]
        if same:
            raise ValueError(
                f'{len(same)} names differ in upper and lower case alone, '
                f'as {same[0]!r}, and DST cannot tell them apart; choose '
                'another disk, or rename them.'
            )


def forecast(src: Path, paths: Sequence[str], args) -> None:
    """Say how much smaller a sample of the images would be."""
    images = [path for path in paths if is_image(path)]
    sample = images[:: -(-len(images) // SAMPLE)]
    before = after = count = 0
    for path in sample:
        data, small = b'', None
        with suppress(Exception):  # the run itself names such files
            data = (src / path).read_bytes()
            small = shrunken(data, args.short_side, args.quality)
        before += len(data)
        after += len(small or data)
        count += bool(small)
    print(
        f'{len(images):,} images and {len(paths) - len(images):,} other '
        f'files; of {len(sample)} images looked at {count} would be shrunk, '
        f'all of them from {decimal(before)} to {decimal(after)}.'
    )


def follow_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def begin_worker() -> None:
    # The parent alone answers Ctrl-C; where it is killed, so are we.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=follow_parent, daemon=True).start()


def outcomes(work: partial, paths: Sequence[str], jobs: int) -> Iterator:
    """Do the work in processes, and show how far it is."""
    with ProcessPoolExecutor(jobs, initializer=begin_worker) as pool:
        done = pool.map(work, paths, chunksize=16)
        try:
            yield from track(done, 'Shrinking images', len(paths), logger=None)
        finally:
            pool.shutdown(cancel_futures=True)


def report(found: Sequence[Outcome], seconds: float, args) -> int:
    """Print what was done, and give the exit status."""
    kinds = Counter((one.kind, is_image(one.path)) for one in found)
    there = sum(one.kind == 'there' for one in found)
    before, after = sum(o.before for o in found), sum(o.after for o in found)
    images = kinds['shrunk', True] + kinds['kept', True]
    print(
        f'{kinds["shrunk", True]:,} images shrunk to a short side of '
        f'{args.short_side}, {kinds["kept", True]:,} copied as they are, '
        f'{kinds["kept", False]:,} other files copied, {there:,} files were '
        f'there.\n{decimal(before)} before, {decimal(after)} after; '
        f'{images / seconds:.0f} images/s with --jobs {args.jobs}.'
    )
    bad = [f'- {one.path!r} ({one.reason})' for one in found if one.reason]
    if bad:
        print(f'{len(bad)} files could not be shrunk, only copied at best:')
        print('\n'.join(bad[:NAMED] + ['- ...'] * (len(bad) > NAMED)))
    return int(bool(bad))


def shrink(args: argparse.Namespace) -> int:
    """Do what the command line asks for, and give the exit status."""
    src, dst = (Path(x).expanduser() for x in (args.src, args.dst))
    for path, name in ((src, 'SRC'), (dst, 'DST')):
        if not path.is_dir() and (path.exists() or path is src):
            raise ValueError(f'{name} {str(path)!r} is no folder.')
    settings = dict(short_side=args.short_side, quality=args.quality)
    paths = choose(find_files(str(src), str(dst)), args.lists)
    refuse_mixture(dst, settings)
    if args.dry_run:
        forecast(src, paths, args)
        return 0
    write_files({dst / MARKER: json.dumps(settings) + '\n'})
    refuse_collisions(dst, paths)
    options = dict(settings, source=str(src), target=str(dst))
    work = partial(shrink_file, force=args.force, **options)
    begin = time.perf_counter()
    found = list(outcomes(work, paths, args.jobs))
    return report(found, time.perf_counter() - begin, args)


def main(args=None) -> int:
    try:
        return shrink(parse_args(args))
    except ValueError as error:
        print(f'Stopped: {error}')
    except (OSError, BrokenProcessPool, KeyboardInterrupt) as error:
        print(f'Stopped: {str(error) or "interrupted"}; run again to go on.')
    return 1


if __name__ == '__main__':
    # A cluster that ends a job says so: clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
