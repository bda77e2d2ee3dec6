"""Write down what a run is made of, and see that all processes agree."""

import json
import logging
import os.path as osp

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from lift_mm.registry import HOOKS

from .class_info_hook import _dataset
from .run_record import bases, code_state, data_fingerprint, versions


@HOOKS.register_module()
class RecordHook(Hook):
    """Log, keep and compare what decides the results of a run.

    Versions, seed, data, base weights and the commit of config and code go
    into the log, into ``record.json`` beside it, and into the ``meta`` of
    every checkpoint. A run that is resumed on other data says so in a
    warning, and with other versions in a line.

    Several processes must have the same data and the same base weights.
    mmengine sends the weights of rank 0 to all, and a sampler counts with
    the length that its own process sees: nobody else would notice.
    """

    # Nothing has been started yet, and no rank waits for another one.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.record: dict = {}
        self._stored: dict | None = None

    def before_run(self, runner: Runner) -> None:
        """See the class.

        Raises:
            ValueError: A process has other data or another base than the
                first one; raised in all of them.
        """
        loops = dict(
            train=runner._train_loop,
            val=runner._val_loop,
            test=runner._test_loop,
        )
        data = {name: _dataset(loop) for name, loop in loops.items()}
        record = dict(
            data={k: data_fingerprint(v) for k, v in data.items() if v},
            base=bases(runner.model),
        )
        _refuse_others(record)
        if not is_main_process():
            return
        self.record = dict(
            versions=versions(),
            code=code_state(runner.cfg),
            seed=int(runner.seed),
            deterministic=int(
                runner._randomness_cfg.get('deterministic', False)
            ),
            processes=int(runner.world_size),
            **record,
        )
        print_log('\n'.join(_lines(self.record)), logger='current')
        with open(osp.join(runner.log_dir, 'record.json'), 'w') as file:
            json.dump(self.record, file, indent=2)
        self._compare()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the record into the checkpoint, in plain types."""
        checkpoint['meta']['record'] = self.record

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say what has changed since the run that is resumed."""
        meta = checkpoint.get('meta') or {}
        self._stored = meta.get('record') if runner._resume else None
        self._compare()

    def _compare(self) -> None:
        # A FlexibleRunner has loaded before a run begins.
        if self._stored and self.record:
            _compare(self._stored, self.record)


def _refuse_others(record: dict) -> None:
    first, *others = all_gather_object(record)
    for rank, other in enumerate(others, start=1):
        for name, own in first['data'].items():
            seen = other['data'].get(name)
            if seen != own:
                raise ValueError(
                    f'Rank {rank} has other data than rank 0, '
                    f'{_show(seen)} instead of {_show(own)}: all processes '
                    f'must read the same list (key `{name}_dataloader`).'
                )
        if _hashes(other['base']) != _hashes(first['base']):
            raise ValueError(
                f'Rank {rank} has another base than rank 0, '
                f'{_names(other["base"])} instead of '
                f'{_names(first["base"])}: all processes must read the same '
                'file (key `model.backbone.backbone.pretrained`).'
            )


def _compare(old: dict, new: dict) -> None:
    for name, data in new['data'].items():
        before = old['data'].get(name)
        if before and before != data:
            print_log(
                f'Resumed on other data: the {name} set was {_show(before)} '
                f'and is {_show(data)} (key `{name}_dataloader.dataset`).',
                logger='current',
                level=logging.WARNING,
            )
    changed = [
        f'{name} {old["versions"].get(name)} -> {version}'
        for name, version in new['versions'].items()
        if old['versions'].get(name) != version
    ]
    if changed:
        print_log(
            f'Resumed with other versions: {", ".join(changed)}.',
            logger='current',
        )


def _show(data: dict | None) -> str:
    if data is None:
        return 'none'
    return (
        f'{data["images"]} images of {data["classes"]} classes '
        f'[{data["sha256"][:8]}]'
    )


def _hashes(found: list) -> list[str]:
    return [sha for _, sha in found]


def _names(found: list) -> str:
    return ', '.join(f'{name} [{sha[:8]}]' for name, sha in found) or 'none'


def _lines(record: dict) -> list[str]:
    """Say a record in a few lines of a log."""
    lines = ['This run:']
    for key in ('versions', 'code'):
        parts = [f'{name} {value}' for name, value in record[key].items()]
        if parts:
            lines.append(f'{key}: {", ".join(parts)}')
    for name, data in record['data'].items():
        lines.append(f'{name} set: {_show(data)}')
    lines += [
        f'base: {_names(record["base"])}',
        f'seed: {record["seed"]}, deterministic: '
        f'{bool(record["deterministic"])}, processes: {record["processes"]}',
    ]
    return lines
