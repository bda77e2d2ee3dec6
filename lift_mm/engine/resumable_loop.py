"""A training loop whose resumed run equals an uninterrupted one."""

import contextlib
import itertools
import logging
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader, Sampler

from lift_mm.datasets.randomness import begin_epoch
from lift_mm.registry import LOOPS

from .sharded_strategy import check_flexible


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """Epochs as mmengine's, with nothing that depends on the past of a run.

    * A sample's random choices come from (seed, epoch, index), which the
      datasets of lift_mm take from here and persistent workers read in
      shared memory; a step's from (seed, iteration, rank). Transforms that
      change with the epoch learn it the same way, in any dataset.
    * A run that was cut inside an epoch goes on with the batches that were
      left; those already trained are skipped by index, not loaded.
    * Gradient accumulation ends with each epoch: its last group makes a step
      even when short, with the divisor unchanged (LIFT's program does so).

    Args:
        runner: The runner.
        **kwargs: Keys of mmengine's ``EpochBasedTrainLoop``.
    """

    def __init__(self, runner, *args, **kwargs) -> None:
        check_flexible(runner)  # which calls a hook later than this
        super().__init__(runner, *args, **kwargs)
        self._first = True
        self._seed = self.runner.seed
        MMLogger.get_current_instance().addFilter(_counts_epochs)

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        runner, loader = self.runner, self.dataloader
        done = self._resume_epoch() if self._first else 0
        self._first = False
        MMLogger.get_current_instance().removeFilter(_counts_epochs)
        begin_epoch(loader.dataset, self._epoch, self._max_epochs, runner.seed)
        runner.call_hook('before_train_epoch')
        runner.model.train()
        accumulate_by_epoch(
            runner.optim_wrapper, runner.model, done, len(loader)
        )
        with skip_batches(loader, done):
            for index, batch in enumerate(loader, start=done):
                self.run_iter(index, batch)
        runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _resume_epoch(self) -> int:
        """Give the batches of this epoch that were trained before.

        Only the first epoch of a run can have such.
        """
        sampler = self.dataloader.sampler
        if getattr(sampler, 'seed', None) == self._seed:
            # Built before the checkpoint brought the seed of its run.
            sampler.seed = self.runner.seed
        hub, size = self.runner.message_hub, len(self.dataloader)
        # Saved with each checkpoint. With another batch size nothing tells
        # which images were seen: the epoch begins anew.
        same = hub.get_info('batches_per_epoch', size) == size
        hub.update_info('batches_per_epoch', size)
        done = self._iter - self._epoch * size
        # All of them: saved after the last step, before the epoch's hooks.
        return done if same and 0 <= done <= size else 0

    def run_iter(self, idx: int, data_batch) -> None:
        """Make one step with random numbers of its own."""
        entropy = (self.runner.seed, self._iter, get_rank())
        state = np.random.SeedSequence(entropy).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        super().run_iter(idx, data_batch)


def _counts_epochs(record: logging.LogRecord) -> bool:
    """Drop the runner's word on a group cut by resuming.

    It divides the iterations of the whole run, and groups end with epochs:
    :func:`accumulate_by_epoch` has the same said where it is true.
    """
    return not str(record.msg).startswith('Resumed iteration number')


def accumulate_by_epoch(
    optim_wrapper: OptimWrapper, model, done: int, batches: int
) -> None:
    """Let gradient accumulation start and end with an epoch.

    Args:
        optim_wrapper: Any wrapper of one optimizer.
        model: The model it trains.
        done: Batches of this epoch that were trained before.
        batches: Batches in an epoch; the last one always makes a step.
    """
    done %= batches  # the last group of a whole epoch was no cut one
    optim_wrapper.initialize_count_status(model, done, batches)
    # mmengine would divide a short last group by its own length.
    optim_wrapper._remainder_counts = 0


class _Rest(Sampler):
    """What a sampler gives after its first indices."""

    def __init__(self, sampler: Sampler, skip: int) -> None:
        self.sampler = sampler
        self.skip = skip

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self.sampler), self.skip, None)

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.skip)


@contextlib.contextmanager
def skip_batches(loader: DataLoader, number: int):
    """Leave out the first batches of a loader without loading them."""
    batches = loader.batch_sampler
    whole = batches.sampler
    try:
        if number:
            batches.sampler = _Rest(whole, number * batches.batch_size)
        yield loader
    finally:
        batches.sampler = whole
