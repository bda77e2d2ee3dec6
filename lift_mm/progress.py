"""One way to show how far long work has come."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mmengine import dist
from mmengine.logging import print_log
from mmengine.utils import ProgressBar

Item = TypeVar('Item')


def track(
    items: Iterable[Item],
    what: str,
    total: int,
    count: Callable[[Item], int] | None = None,
    show: bool = True,
    logger: str | None = 'current',
) -> Iterator[Item]:
    """Pass items on and show how many are done.

    A bar on a terminal. Elsewhere, such as in the log of a cluster, a line
    at the start and one at the end: a bar would fill it. Only the first of
    several processes shows something.

    Args:
        items: What is worked on.
        what: A word for the work and what it counts, such as
            ``'Encoding prompts'``.
        total: How many there are.
        count: How many an item stands for, such as the images of a batch;
            None is one.
        show: Whether to show anything: short work needs nothing.
        logger: Gets the lines; None prints them.

    Yields:
        The items.
    """
    if not show or not total or not dist.is_main_process():
        yield from items
        return
    begin, bar = time.monotonic(), None
    # Not mmengine's default: what stdout was when that was imported.
    if sys.stdout.isatty():
        print(what)
        bar = ProgressBar(total, file=sys.stdout)
    else:
        print_log(f'{what}: {total:,}', logger)
    try:
        for item in items:
            yield item
            if bar:
                bar.update(count(item) if count else 1)
    finally:
        if bar:
            print()
    if not bar:
        seconds = time.monotonic() - begin
        print_log(f'{what}: {total:,} in {seconds:.0f} s', logger)
