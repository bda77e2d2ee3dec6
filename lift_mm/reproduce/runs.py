"""One run: what it needs, its commands, and its result on disk."""

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmengine.config import Config, DictAction

from .record import environment, learned_sizes, write_whole
from .tables import Row


def read_config(path: Path, options: Sequence[str] = ()) -> Config:
    """Read a config and merge options as ``--cfg-options`` does.

    Raises:
        ValueError: There is no such file, or an option is no KEY=VALUE.
    """
    if not path.is_file():
        raise ValueError(f'There is no config {str(path)!r} (key `config`).')
    for option in options:
        if '=' not in option:
            raise ValueError(
                f'The option {option!r} is no KEY=VALUE (`--cfg-options`, '
                'or key `options` of a row).'
            )
    cfg = Config.fromfile(path)
    if options:
        parser = argparse.ArgumentParser()
        parser.add_argument('--options', nargs='+', action=DictAction)
        parsed = parser.parse_args(['--options', *options])
        cfg.merge_from_dict(parsed.options)
    return cfg


def config_hash(cfg: Config) -> str:
    """Name what a config says, whatever its seed, by eight digits."""
    content = cfg.to_dict()
    content.get('randomness', {}).pop('seed', None)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Run:
    """One row of a table with one seed.

    Its folder is ``<work_dir>/<config>_<hash of the config>/seed-<seed>``:
    rows that differ only in the test share a training, tables share runs,
    and a changed config starts anew.

    Args:
        row: The row.
        seed: The seed.
        root: Folder with ``tools``, which relative paths start from.
        work_dir: Folder of all runs.
        gpus: Processes; the total batch stays that of the config.
        options: Further ``KEY=VALUE`` for the config.

    Raises:
        ValueError: The config does not exist, an option is malformed, or
            the batch cannot be shared by the processes.
    """

    def __init__(
        self,
        row: Row,
        seed: int,
        root: Path,
        work_dir: Path,
        gpus: int = 1,
        options: Sequence[str] = (),
    ) -> None:
        self.row = row
        self.seed = seed
        self.root = root
        self.gpus = gpus
        self.options = [*row.options, *options]
        path = root / row.config
        self.config = path
        self.cfg = read_config(path, self.options)
        self.test_config, self._test = path, ''
        if row.test_config:
            self.test_config = root / row.test_config
            test = read_config(self.test_config, self.options)
            self._test = f'-{self.test_config.stem}_{config_hash(test)}'
        self.hash = config_hash(self.cfg)
        name = '/'.join(path.with_suffix('').parts[-2:])
        self.folder = work_dir / f'{name}_{self.hash}' / f'seed-{seed}'
        if gpus > 1 and row.trains:
            batch = self.cfg.train_dataloader.batch_size
            if batch % gpus:
                raise ValueError(
                    f'A batch of {batch} cannot be shared by {gpus} '
                    'processes; choose another number (`--gpus`, or '
                    '`--cfg-options train_dataloader.batch_size=...`).'
                )
            share = f'train_dataloader.batch_size={batch // gpus}'
            self.options.append(share)

    @property
    def title(self) -> str:
        """Name the run in a line of output."""
        return f'{self.row.name}, seed {self.seed}'

    @property
    def result_file(self) -> Path:
        """Give the file that says the run is finished."""
        return self.folder / f'result-{self._kind}.json'

    @cached_property
    def checkpoint(self) -> Path:
        """Give the checkpoint of the last epoch, which is tested."""
        epochs = self.cfg.train_cfg.max_epochs if self.row.trains else 0
        return self.folder / f'epoch_{epochs}.pth'

    def result(self) -> dict | None:
        """Read the result, None where there is none."""
        try:
            return json.loads(self.result_file.read_text())
        except FileNotFoundError:
            return None

    def state(self) -> str:
        """Say how far it is."""
        if self.result_file.is_file():
            return 'finished'
        if not self.row.trains:
            return 'new'
        # The runner writes this pointer when a checkpoint is complete.
        pointer = self.folder / 'last_checkpoint'
        if not pointer.is_file():
            return 'new'
        last = Path(pointer.read_text().strip()).name
        return 'trained' if last == self.checkpoint.name else 'cut off'

    def commands(self) -> dict[str, list[str]]:
        """Give the commands that are left, by what they do."""
        state = self.state()
        found = {}
        if state == 'finished':
            return found
        options = ['--cfg-options', *self.options]
        options.append(f'randomness.seed={self.seed}')
        flags = ['--work-dir', str(self.folder)]
        if self.row.trains and state != 'trained':
            # Without a checkpoint, "auto" starts from the beginning.
            words = [*flags, '--resume', 'auto', *options]
            found['train'] = self._tool('train', [], words)
        flags += ['--out', str(self._metrics), '--out-item', 'metrics']
        flags += ['--tta'] if self.row.tta else []
        known = [str(self.checkpoint)] if self.row.trains else []
        found['test'] = self._tool('test', known, [*flags, *options])
        return found

    def execute(self) -> dict:
        """Do what is left and write the result.

        Raises:
            RuntimeError: A command failed; what it printed is in its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        seconds = {}
        begun = self.state() == 'cut off'
        for name, command in self.commands().items():
            start = time.time()
            self._call(name, command)
            seconds[name] = round(time.time() - start, 1)
        sizes = dict(learned_params=0, head_params=0)
        if self.row.trains:
            sizes = learned_sizes(self.checkpoint)
        result = dict(
            row=self.row.name,
            config=self.row.config,
            test_config=self.row.test_config or self.row.config,
            config_hash=self.hash,
            options=self.options,
            seed=self.seed,
            tta=self.row.tta,
            gpus=self.gpus,
            metrics=json.loads(self._metrics.read_text()),
            **sizes,
            # The time of a training that was resumed is unknown.
            train_seconds=None if begun else seconds.get('train'),
            test_seconds=seconds['test'],
            date=datetime.date.today().isoformat(),
            **environment(),
        )
        write_whole(self.result_file, json.dumps(result, indent=2) + '\n')
        return result

    @property
    def _kind(self) -> str:
        kind = ('tta' if self.row.tta else 'plain') + self._test
        return kind if self.row.trains else f'untrained-{kind}'

    @property
    def _metrics(self) -> Path:
        return self.folder / f'metrics-{self._kind}.json'

    def _tool(self, name: str, checkpoint: list, words: list) -> list[str]:
        config = str(self.config if name == 'train' else self.test_config)
        # dist_test.sh wants a checkpoint; one process tests without one.
        if self.gpus > 1 and self.row.trains:
            script = str(self.root / 'tools' / f'dist_{name}.sh')
            head = ['bash', script, config, *checkpoint, str(self.gpus)]
        else:
            script = str(self.root / 'tools' / f'{name}.py')
            head = [sys.executable, script, config, *checkpoint]
        return [*head, *words]

    def _call(self, name: str, command: list[str]) -> None:
        kind = 'train' if name == 'train' else f'test-{self._kind}'
        log = self.folder / f'{kind}.log'
        with log.open('a') as out:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=dict(os.environ, PYTHON=sys.executable),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                code = process.wait()
            finally:  # an interrupted program leaves nothing running
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if code:
            lines = log.read_text(errors='replace').strip().splitlines()
            raise RuntimeError(
                f'{name} ended with code {code}: '
                f'{lines[-1] if lines else "no output"} (all of it: {log})'
            )
