"""Random choices that depend on seed, epoch and image, on nothing else."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class SharedClock:
    """Seed, epoch and epochs in all, which a loader's workers see at once.

    They lie in shared memory, so that a worker which outlives the epoch
    (``persistent_workers=True``) learns of the next one. A deep copy gets a
    clock of its own that starts with the same time.

    Attributes:
        seed: The seed, 0 at first.
        epoch: The epoch, counted from 0; -1 as long as nobody has set it.
        max_epochs: Epochs of the whole run; 0 as long as nobody has set it.
    """

    def __init__(
        self, seed: int = 0, epoch: int = -1, max_epochs: int = 0
    ) -> None:
        time = [seed, epoch, max_epochs]
        self._time = torch.tensor(time, dtype=torch.int64)
        self._time.share_memory_()

    @property
    def seed(self) -> int:
        """Give the seed."""
        return int(self._time[0])

    @seed.setter
    def seed(self, value: int) -> None:
        self._time[0] = natural(value, 'seed')

    @property
    def epoch(self) -> int:
        """Give the epoch, or -1."""
        return int(self._time[1])

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._time[1] = natural(value, 'epoch')

    @property
    def max_epochs(self) -> int:
        """Give the epochs of the run, or 0."""
        return int(self._time[2])

    @max_epochs.setter
    def max_epochs(self, value: int) -> None:
        self._time[2] = natural(value, 'number of epochs')

    def __deepcopy__(self, memo: dict) -> 'SharedClock':
        return SharedClock(self.seed, self.epoch, self.max_epochs)


def natural(value: int, name: str) -> int:
    """Check a whole number of at least 0.

    Args:
        value: The number, of Python or numpy.
        name: What it is, for the message.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 0, or too large for 64 bits.
    """
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


def begin_epoch(dataset, epoch: int, max_epochs: int, seed: int = 0) -> None:
    """Tell an epoch to all that asks for it in a dataset.

    Whatever has a method ``set_seed``, ``set_epoch`` or ``set_max_epochs``
    gets the number: the dataset, those inside wrappers, the transforms of
    their pipelines and the transforms inside these. ``lift_mm``'s own keep
    it in a :class:`SharedClock`, where running workers see it.

    Args:
        dataset: Any dataset, or a wrapper of datasets.
        epoch: Epoch to come, counted from 0.
        max_epochs: Epochs of the whole run.
        seed: Seed of the run, the same on every rank.
    """
    told = {'seed': seed, 'epoch': epoch, 'max_epochs': max_epochs}
    for part in _parts(dataset, {}):
        for name, value in told.items():
            tell = getattr(part, f'set_{name}', None)
            if tell is not None:
                tell(value)


def _parts(node: object, seen: dict[int, object]) -> Iterator[object]:
    # Kept, not only their ids: those of dead objects come again.
    if id(node) in seen:
        return
    seen[id(node)] = node
    if isinstance(node, (list, tuple)):
        inner = node
    elif isinstance(node, dict):
        inner = node.values()
    elif callable(node) and hasattr(node, '__dict__'):
        yield node
        inner = vars(node).values()  # a transform, whatever it calls its own
    else:
        yield node
        names = ('dataset', 'datasets', 'pipeline')
        inner = [getattr(node, name, None) for name in names]
    for part in inner:
        yield from _parts(part, seen)
