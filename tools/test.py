"""Test a model: mmpretrain's tool with the parts of lift_mm at hand."""

import argparse
import os
import os.path as osp

import mmengine
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.evaluator import DumpResults
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

# Repairs what a current environment needs, hence before any config is read.
import lift_mm
from lift_mm import compat


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and evaluate) a model')
    parser.add_argument('config', help='the config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='the checkpoint; without one, the model is tested as it is '
        'initialised (zero-shot, for a head that starts from class names)',
    )
    parser.add_argument('--work-dir', help='where logs and metrics go')
    parser.add_argument('--out', help='the file to write results to')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what to write to --out. Defaults to predictions',
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
        '--amp',
        action='store_true',
        help='test in mixed precision: bfloat16 or, on GPUs without it, '
        'float16 (fp32 where there is no GPU)',
    )
    parser.add_argument('--show-dir', help='where to save drawn predictions')
    parser.add_argument(
        '--show', action='store_true', help='show predictions in a window'
    )
    parser.add_argument(
        '--interval', type=int, default=1, help='draw every n-th sample'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds per window'
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='switch pin_memory of the dataloaders off',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation by tta_pipeline and tta_model of the '
        'config; without them, the mean of the logits of an image and its '
        'mirror image',
    )
    parser.add_argument(
        '--merge',
        action='store_true',
        help='fold the tuners into the weights before testing: the same '
        'scores at the speed of the plain backbone; the log names what stays',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes one or the other, by its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    # Intermixed: plain parsing loses an optional positional after a flag.
    args = parser.parse_intermixed_args()

    if not osp.isfile(args.config):
        parser.exit(2, f'error: config file "{args.config}" does not exist\n')
    if args.checkpoint and '://' not in args.checkpoint:
        if not osp.isfile(osp.expanduser(args.checkpoint)):
            parser.exit(
                2, f'error: checkpoint "{args.checkpoint}" does not exist\n'
            )
    if args.out is None and args.out_item is not None:
        parser.exit(2, 'error: --out-item needs --out, the file to write\n')
    if args.tta and (args.show or args.show_dir):
        parser.exit(
            2, 'error: --show and --show-dir draw one view, no --tta\n'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Merge the command line into the config."""
    cfg.launcher = args.launcher

    # Command line > config > name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('./work_dirs', name)

    if args.checkpoint is not None:
        cfg.load_from = args.checkpoint
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.merge:
        hooks = cfg.get('custom_hooks') or []
        cfg.custom_hooks = [*hooks, dict(type='lift_mm.MergeHook')]
    if args.show or args.show_dir is not None:
        set_visualization(cfg, args)
    if cfg.get('test_dataloader') is not None:
        dataloader = ConfigDict(
            pin_memory=True,
            collate_fn=dict(type='default_collate'),
        )
        dataloader.update(cfg.test_dataloader)
        if args.no_pin_memory:
            dataloader.pin_memory = False
        cfg.test_dataloader = dataloader

    # The same options serve with and without --tta, which wraps the model
    # afterwards; MMPretrain's own tool wants "model.module." for it.
    options = args.cfg_options or {}
    if args.tta:
        options = {
            key.replace('model.module.', 'model.', 1): value
            for key, value in options.items()
        }
    cfg.merge_from_dict(options)
    if args.tta:
        set_tta(cfg)
    return cfg


def set_visualization(cfg: Config, args: argparse.Namespace) -> None:
    if 'visualization' not in cfg.get('default_hooks', {}):
        raise ValueError(
            '--show and --show-dir need "default_hooks.visualization" in the '
            'config: visualization=dict(type="VisualizationHook").'
        )
    cfg.default_hooks.visualization.update(
        enable=True,
        show=args.show,
        wait_time=args.wait_time,
        out_dir=args.show_dir,
        interval=args.interval,
    )


def set_tta(cfg: Config) -> None:
    from lift_mm.models.tta import tta_settings  # --help does not wait for it

    cfg.tta_model, cfg.tta_pipeline = tta_settings(cfg)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    if cfg.filename:
        # The runner writes its config beside the checkpoints, where that of
        # the training is, which loaders of the model need.
        name = cfg.filename.removesuffix('.py') + '_tta.py'
        object.__setattr__(cfg, '_filename', name)


def main() -> None:
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    compat.cpu_distributed(cfg)
    cfg.test_cfg = compat.without_fp16(cfg.get('test_cfg'))
    compat.set_half_dtype()

    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    runner = build(cfg)
    shims = ', '.join(compat.install()) or 'none'
    print_log(f'lift_mm {lift_mm.__version__}, shims: {shims}', 'current')

    if args.out and args.out_item in ('pred', None):
        runner.test_evaluator.metrics.append(DumpResults(args.out))
    metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    main()
