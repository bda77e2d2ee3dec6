"""Random choices that depend on seed, epoch and image, on nothing else."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class SharedClock:
    """Seed and epoch that the workers of a data loader see at once.

    They lie in shared memory, so that a worker which outlives the epoch
    (``persistent_workers=True``) learns of the next one. A deep copy gets a
    clock of its own that starts with the same time.

    Attributes:
        seed: The seed, 0 at first.
        epoch: The epoch, counted from 0; -1 as long as nobody has set it.
    """

    def __init__(self, seed: int = 0, epoch: int = -1) -> None:
        self._time = torch.tensor([seed, epoch], dtype=torch.int64)
        self._time.share_memory_()

    @property
    def seed(self) -> int:
        return int(self._time[0])

    @seed.setter
    def seed(self, value: int) -> None:
        self._time[0] = _natural(value, 'seed')

    @property
    def epoch(self) -> int:
        return int(self._time[1])

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._time[1] = _natural(value, 'epoch')

    def __deepcopy__(self, memo: dict) -> 'SharedClock':
        return SharedClock(self.seed, self.epoch)


def _natural(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f'The {name} must be an int, not {value!r}.')
    if not 0 <= value < 2**63:
        raise ValueError(
            f'The {name} is {value}; it must be at least 0 and below 2**63.'
        )
    return int(value)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed ``random``, numpy and torch (CPU) inside a ``with`` block.

    The three global states are put back afterwards, so that loading in the
    main process leaves the random numbers of the training alone.

    Args:
        *key: Whole numbers of at least 0. Each key gives a stream of its
            own, also keys that differ by one.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    # Not `torch.manual_seed`: that would seed the accelerators, too.
    torch.default_generator.manual_seed(int(words[2]) << 32 | int(words[3]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
