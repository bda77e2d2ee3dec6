"""Checkpoints that a kill or a full disk cannot tear."""

import contextlib
import hashlib
import os
import os.path as osp
import pickle
from collections.abc import Iterator

import mmengine
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from lift_mm import whole_files
from lift_mm.registry import HOOKS
from lift_mm.safe_load import load_file

# Where a run that was asked to stop leaves its state, in its work_dir.
STOPPED = 'stopped.pth'


@register_backend('lift_mm.whole', force=True)
class WholeFileBackend(LocalBackend):
    """Local files that are written whole or not at all."""

    def put(self, obj: bytes, filepath: str) -> None:
        """Write bytes; an archive of ``torch.save`` is sealed."""
        mmengine.mkdir_or_exist(osp.dirname(filepath))
        whole_files.write(whole_files.seal(obj), filepath)


# How mmengine's functions are told to write through it.
WHOLE = dict(backend='lift_mm.whole')


def group_ends(runner: Runner) -> bool:
    """Say whether the last batch made a step of the optimizer.

    Between two steps gradients are being summed up, which no checkpoint
    holds.
    """
    ask = getattr(runner.optim_wrapper, 'should_update', None)
    return ask is None or ask()


def point_to(runner: Runner, path: str) -> None:
    """Name the checkpoint that a run goes on from."""
    whole_files.write_text(path, osp.join(runner.work_dir, 'last_checkpoint'))


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's, whose files are whole whatever happens.

    A local file is written under another name and then renamed, and carries
    a seal that shows damage (:mod:`lift_mm.whole_files`). Older checkpoints
    go only when the new one is there. A save by iterations waits for the end
    of a group of accumulated batches. Arguments are those of mmengine's
    hook; backends of one's own write as they do there.
    """

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed run was writing."""
        super().before_train(runner)
        plain = self.file_client_args is None and self.backend_args is None
        if plain and type(self.file_backend) is LocalBackend:
            self.backend_args = WHOLE
        self._due = False
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for place in {self.out_dir, runner.work_dir}:
                whole_files.remove_parts(place)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save when it is time and no gradient is half summed."""
        if self.by_epoch:
            return
        self._due |= self.every_n_train_iters(
            runner, self.interval, self.save_begin
        ) or (self.save_last and self.is_last_train_iter(runner))
        if self._due and group_ends(runner):
            self._due = False
            runner.logger.info(
                f'Saving checkpoint at {runner.iter + 1} iterations'
            )
            self._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        with self._removing_last():
            super()._save_checkpoint_with_step(runner, step, meta)
        if is_main_process():
            point_to(runner, self.last_ckpt)
            with contextlib.suppress(FileNotFoundError):
                os.remove(osp.join(runner.work_dir, STOPPED))

    def _save_best_checkpoint(self, runner, metrics) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _removing_last(self) -> Iterator[None]:
        """Remove at the end, and nothing at all after an exception."""
        backend = self.file_backend
        self.file_backend = _Remover(backend)
        try:
            yield
            removals = self.file_backend.removals
        finally:
            self.file_backend = backend
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best}
        for remove, path in removals:
            if path not in kept:  # written anew under the same name
                remove(path)

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        if self.backend_args != WHOLE:
            super()._publish_model(runner, ckpt_path)
            return
        checkpoint = load_file(ckpt_path)
        public = {
            key: value
            for key, value in checkpoint.items()
            if key in self.published_keys
        }
        sha = hashlib.sha256(pickle.dumps(public)).hexdigest()
        path = f'{osp.splitext(ckpt_path)[0]}-{sha[:8]}.pth'
        whole_files.save(public, path)
        runner.logger.info(f'"{ckpt_path}" is published as "{path}".')


class _Remover:
    """A file backend that notes what it shall remove."""

    def __init__(self, backend) -> None:
        self.backend = backend
        self.removals = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removals.append((self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.removals.append((self.backend.rmtree, path))
