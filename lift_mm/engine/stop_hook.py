"""A run that is asked to stop saves its state first."""

import os
import os.path as osp
import signal
import threading
import time

import torch
import torch.distributed as dist
from mmengine.dist import barrier, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from lift_mm.registry import HOOKS

from .checkpoint_hook import STOPPED, WHOLE, group_ends, point_to

SIGNALS = ('SIGTERM', 'SIGUSR1')
# A launcher passes on what the whole group of processes has got already.
_SAME = 2.0  # seconds


@HOOKS.register_module()
class StopHook(Hook):
    """Save and leave when a signal asks for it.

    SIGTERM (``kill``, ``scancel``, a preempted job) and SIGUSR1 (slurm's
    warning, ``--signal=USR1@120``) let the running iteration finish, and a
    group of accumulated batches. ``stopped.pth`` is written into the work
    directory, from which ``--resume auto`` goes on inside the epoch, and the
    process exits with 128 + the signal's number, as shells say it: 143 or
    138. A second signal two seconds later or more kills at once.

    All processes leave at the same iteration: each tells the others what it
    got while the next iteration runs, on the CPU, and no device waits.

    A signal during a validation takes effect at the next iteration; the
    epoch's checkpoint is there already.
    """

    # After everything else that an iteration does.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._signal = 0
        self._since = 0.0
        self._before: dict = {}
        self._group = None
        self._asked: tuple | None = None

    def before_train(self, runner: Runner) -> None:
        """Listen, where Python allows it: in the main thread."""
        self._signal, self._pid = 0, os.getpid()
        self._code = type(runner.train_loop).run.__code__
        if is_distributed():
            self._group = dist.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():
            for name in filter(lambda n: hasattr(signal, n), SIGNALS):
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._note)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop where all processes have heard of it.

        Raises:
            SystemExit: The state is saved.
        """
        number = self._heard()
        if number and group_ends(runner):
            self._save(runner, number)
            self._restore()
            raise SystemExit(128 + number)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        if self._asked is not None:
            self._asked[1].wait()
            self._asked = None
        self._restore()

    def _note(self, number: int, frame) -> None:
        # Workers of a data loader have copied this handler: what a signal
        # to the whole group means is the trainer's affair.
        if os.getpid() != self._pid:
            return
        now = time.monotonic()
        if not self._is_training(frame):
            self._restore()
            os.kill(self._pid, number)
        elif not self._signal:
            self._signal, self._since = number, now
            # Those workers may die of the same signal; the batch at hand
            # is whole, and torch's error would come in the midst of its
            # step, or of leaving.
            if hasattr(signal, 'SIGCHLD'):
                signal.signal(signal.SIGCHLD, lambda *_: None)
        elif now - self._since >= _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(self._pid, number)

    def _is_training(self, frame) -> bool:
        """Whether the loop still runs: no hook learns of an exception."""
        while frame is not None and frame.f_code is not self._code:
            frame = frame.f_back
        return frame is not None

    def _heard(self) -> int:
        """Give the signal that every process knows of by now, or 0."""
        if self._group is None:
            return self._signal
        number = 0
        if self._asked is not None:
            flag, work = self._asked
            work.wait()
            number = int(flag)
        flag = torch.tensor(max(self._signal, number))
        op = dist.ReduceOp.MAX
        work = dist.all_reduce(flag, op, self._group, async_op=True)
        self._asked = flag, work
        return number

    def _save(self, runner: Runner, number: int) -> None:
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1)
        runner.save_checkpoint(
            runner.work_dir,
            STOPPED,
            meta=meta,
            by_epoch=False,
            backend_args=WHOLE,
        )
        path = osp.join(runner.work_dir, STOPPED)
        if runner.rank == 0:
            point_to(runner, path)
        # The first to leave makes the launcher kill the others.
        barrier()
        print_log(
            f'{signal.Signals(number).name}: stopped after iteration '
            f'{runner.iter + 1}, saved "{path}"; --resume auto goes on from '
            'there.',
            logger='current',
        )

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
