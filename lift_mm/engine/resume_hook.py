"""Which checkpoint a run starts from, and whether it can."""

import logging
import os
import os.path as osp
import re
from collections.abc import Iterator

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner, Runner

from lift_mm import whole_files
from lift_mm.registry import HOOKS

from .checkpoint_hook import STOPPED


@HOOKS.register_module()
class ResumeHook(Hook):
    """Let a run go on from the newest checkpoint that is whole.

    With ``resume`` and no ``load_from``, the file that ``last_checkpoint``
    names is taken, or when that is torn or missing the newest other one of
    the run; the log says so. All processes take the file that the first one
    has found. Without any checkpoint the run starts anew.
    """

    # ClassInfoHook asks whether anything will be loaded.
    priority = 'HIGHEST'

    def before_run(self, runner: Runner) -> None:
        """Choose the file, or check the one that the user has chosen.

        Raises:
            ValueError: The file is damaged, or every one is.
        """
        if runner._has_loaded:
            return
        if runner._load_from is not None:
            _check(str(runner._load_from))
        elif runner._resume:
            path, news = _agreed(runner)
            runner._load_from = path
            if news:
                level = logging.WARNING if path else logging.INFO
                print_log(news, logger='current', level=level)
            if path and isinstance(runner, FlexibleRunner):
                runner.load_or_resume()  # it has found nothing before


def newest_whole(
    work_dir: str, out_dir: str, template: str
) -> tuple[str | None, str]:
    """Look for the checkpoint to go on from.

    Args:
        work_dir: Where ``last_checkpoint`` and a stopped run's file lie.
        out_dir: Where the checkpoints lie, often the same.
        template: Their names, as ``'epoch_{}.pth'``.

    Returns:
        The path, or None where there is no checkpoint; and a sentence for
        the log, empty where ``last_checkpoint`` was right.

    Raises:
        ValueError: There are checkpoints, and none is whole.
    """
    pointer = osp.join(work_dir, 'last_checkpoint')
    last = None
    if osp.isfile(pointer):
        with open(pointer, errors='replace') as file:
            last = file.read().strip('\0 \n')
    if last and '://' in last:  # only its own backend can look at it
        return last, ''
    torn = []
    for path in _candidates(last, work_dir, out_dir, template):
        reason = whole_files.damage(path)
        if reason:
            torn.append(f'"{path}": {reason}')
        elif torn or not last:
            faults = '; '.join(torn) or f'"{pointer}" names no checkpoint'
            return path, f'{faults}; the run goes on from "{path}" instead.'
        else:
            return path, ''
    if torn or last is not None:
        faults = '; '.join(torn) or f'"{pointer}" names no checkpoint'
        raise ValueError(
            f'No checkpoint in "{out_dir}" is whole ({faults}): give another '
            'with --resume PATH (key `load_from`), or remove them and '
            f'"{pointer}" to start anew.'
        )
    return None, f'No checkpoint in "{out_dir}": the run starts anew.'


def _candidates(
    last: str | None, work_dir: str, out_dir: str, template: str
) -> Iterator[str]:
    """Give what ``last_checkpoint`` names, then the others, newest first."""
    number = re.escape(template).replace(r'\{\}', r'\d+')
    name = re.compile(f'{number}|{re.escape(STOPPED)}')
    found = {
        entry.path: entry.stat().st_mtime_ns
        for folder in {work_dir, out_dir}
        if osp.isdir(folder)
        for entry in os.scandir(folder)
        if name.fullmatch(entry.name)
    }
    if last:
        yield last
    for path in sorted(found, key=found.get, reverse=True):
        if not last or osp.abspath(path) != osp.abspath(last):
            yield path


def _agreed(runner: Runner) -> tuple[str | None, str]:
    """Let the first process look, and all do what it says."""
    answer: list = [None]
    if is_main_process():
        work_dir, out_dir, template = runner.work_dir, None, None
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                out_dir, template = hook.out_dir, hook.filename_tmpl
        if out_dir is None:
            out_dir = work_dir
        else:  # as the hook is going to
            out_dir = osp.join(out_dir, osp.basename(work_dir.rstrip(osp.sep)))
        try:
            answer = [newest_whole(work_dir, out_dir, template or '{}.pth')]
        except ValueError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], ValueError):
        raise answer[0]
    return answer[0]


def _check(path: str) -> None:
    """Refuse a damaged file before anything is built on it."""
    path = osp.expanduser(path)
    # Files of other formats show damage to those who read them.
    if not osp.isfile(path) or not whole_files.is_archive(path):
        return
    reason = whole_files.damage(path)
    if reason:
        raise ValueError(
            f'Checkpoint "{path}" is damaged ({reason}): take another one, '
            'or download it again (key `load_from`).'
        )
