"""Train a model: mmpretrain's tool with the parts of lift_mm at hand."""

import argparse
import os
import os.path as osp
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import barrier, is_distributed
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.distributed import destroy_process_group

# Repairs what a current environment needs, hence before any config is read.
import lift_mm
from lift_mm import compat
from lift_mm.engine.lr_scaling import of_a_batch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='the config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH|auto',
        help='resume from this checkpoint; without a path, from the latest '
        'one in the work directory',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision: bfloat16 or, on GPUs without it, '
        'float16 (fp32 where there is no GPU)',
    )
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate during training',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the ratio of the images in a step '
        '(batch size x processes x accumulated batches) to '
        'auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='switch pin_memory of the dataloaders off',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='switch persistent_workers of the dataloaders off',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config: a.b=1 c="[x,y]" '
        'd="[(1,2),(3,4)]"; quotes are needed, spaces are not allowed',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='test at the end, and write report.html into the work '
        'directory (needs the extra `report`)',
    )
    # torch.distributed.launch passes one or the other, by its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()

    if not osp.isfile(args.config):
        parser.exit(2, f'error: config file "{args.config}" does not exist\n')
    if args.resume and args.resume != 'auto' and '://' not in args.resume:
        if not osp.isfile(osp.expanduser(args.resume)):
            parser.exit(
                2, f'error: --resume: "{args.resume}" does not exist\n'
            )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Merge the command line into the config."""
    if args.no_validate:
        cfg.val_cfg = None
        cfg.val_dataloader = None
        cfg.val_evaluator = None

    cfg.launcher = args.launcher

    # Command line > config > name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)

    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'

    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume

    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ValueError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) '
                'in the config.'
            )
        cfg.auto_scale_lr.enable = True

    default_dataloader = ConfigDict(
        pin_memory=True,
        persistent_workers=True,
        collate_fn=dict(type='default_collate'),
    )
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field) is None:
            continue
        dataloader = deepcopy(default_dataloader)
        dataloader.update(cfg[field])
        if args.no_pin_memory:
            dataloader.pin_memory = False
        if args.no_persistent_workers:
            dataloader.persistent_workers = False
        cfg[field] = dataloader

    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    return cfg


def compile_model(cfg: Config) -> Config:
    """Let ``compile`` mean the model, from images to logits.

    mmengine compiles the training step, which falls into pieces at the
    samples, the logs and the backward pass.
    """
    kind = cfg.model.type
    kind = kind if isinstance(kind, str) else kind.__name__
    if cfg.get('compile') and kind.endswith('LongTailClassifier'):
        cfg.model.setdefault('compile', cfg.pop('compile'))
    return cfg


def fit_machine(cfg: Config) -> Config:
    """Let a config for GPUs run where there is none."""
    compat.cpu_distributed(cfg)
    if cfg.get('optim_wrapper'):
        cfg.optim_wrapper = compat.without_amp(cfg.optim_wrapper)
    for loop in ('val_cfg', 'test_cfg'):
        if cfg.get(loop):
            cfg[loop] = compat.without_fp16(cfg[loop])
    return cfg


def count_accumulated(runner: Runner) -> None:
    """Let ``auto_scale_lr`` count all images of an optimizer's step."""
    scale = runner.scale_lr

    def scale_lr(optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        scale(optim_wrapper, of_a_batch(auto_scale_lr, optim_wrapper))

    runner.scale_lr = scale_lr


def report_writer(cfg: Config) -> Callable[[str], Path]:
    """Give what writes the report of a run, before it takes time.

    Raises:
        ValueError: Packages are missing, or the config has no test.
    """
    try:
        from lift_mm.analysis.run_report import (
            check_testable,
            write_run_report,
        )
    except ModuleNotFoundError as error:
        raise ValueError(
            f'--report needs the package {error.name}: pip install '
            "'lift_mm[report]'."
        ) from error
    check_testable(cfg)
    return write_run_report


def write_report(runner: Runner, write: Callable[[str], Path]) -> None:
    """Let the first process write the report, the others leave."""
    if is_distributed():
        # What is built for the report must not wait for the others.
        barrier()
        destroy_process_group()
    if runner.rank:
        return
    # The runner of the test takes over as the "current" one.
    logger = runner.logger
    logger.info(
        f'Trained and saved in {runner.work_dir}; testing it for the report '
        '(should that fail: tools/analysis_tools/report.py '
        f'{runner.work_dir}).'
    )
    logger.info(f'Written: {write(runner.work_dir)} and .json beside it')


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    write = report_writer(cfg) if args.report else None
    cfg = fit_machine(compile_model(cfg))
    compat.set_half_dtype()

    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
    if isinstance(runner, Runner):  # a strategy counts by itself
        count_accumulated(runner)
    shims = ', '.join(compat.install()) or 'none'
    print_log(f'lift_mm {lift_mm.__version__}, shims: {shims}', 'current')
    runner.train()
    if write:
        write_report(runner, write)


if __name__ == '__main__':
    main()
