"""One of several training processes; writes what its rank has learned."""

import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lift_mm import compat


class Record(Hook):
    """Keep the model at the start and at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states = {}

    def before_train(self, runner) -> None:
        self._keep(runner, 'start')

    def after_train(self, runner) -> None:
        self._keep(runner, 'end')
        torch.save(self.states, self.folder / f'rank{get_rank()}.pt')

    def _keep(self, runner, moment: str) -> None:
        state = runner.model.module.state_dict()
        self.states[moment] = {k: v.clone() for k, v in state.items()}


def main() -> None:
    config, folder, *options = sys.argv[1:]
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(
        {
            key: DictAction._parse_iterable(value)
            for key, value in (o.split('=', 1) for o in options)
        }
    )
    cfg.work_dir = folder
    cfg.launcher = 'pytorch'
    cfg.optim_wrapper = compat.without_amp(cfg.optim_wrapper)
    compat.cpu_distributed(cfg)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Record(Path(folder)), 'LOWEST')
    runner.train()


if __name__ == '__main__':
    main()
