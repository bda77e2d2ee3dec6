"""Merge tuners into their backbone: a plain mmpretrain model to ship.

Writes ``OUT.pth`` and ``OUT.py``. The model is mmpretrain's own
``ImageClassifier``; parts of lift_mm stay where mmpretrain has none: the
split activation of a fused AdaptFormer, a cosine head, tuners that cannot be
merged. The two files are built and loaded once more, and the result is
compared with the tuned model.
"""

import argparse
import re
from pathlib import Path

import mmpretrain
import torch
from mmengine.config import Config, DictAction
from mmpretrain import get_model
from torch import Tensor, nn

import lift_mm
from lift_mm import whole_files
from lift_mm.apis import build_tuned, class_card, merge
from lift_mm.deploy import read_images
from lift_mm.models.merged_config import can_widen, model_config
from lift_mm.safe_load import load_file

# What only training reads.
_TRAINING = (
    'auto_scale_lr',
    'load_from',
    'optim_wrapper',
    'param_scheduler',
    'resume',
    'train_cfg',
    'train_dataloader',
    'work_dir',
)


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the config of the training run')
    parser.add_argument('checkpoint', help='a checkpoint of it')
    parser.add_argument('out', help='where to write: OUT.pth and OUT.py')
    parser.add_argument(
        '--images', nargs='+', default=[], help='images to compare on'
    )
    parser.add_argument(
        '--strict',
        action='store_true',
        help='fail where something cannot be merged',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args(args)


def whole_config(cfg: Config, model: dict) -> Config:
    """Give the config without what only training reads."""
    new = {k: v for k, v in cfg.to_dict().items() if k not in _TRAINING}
    hooks = new.pop('custom_hooks', None) or []
    hooks = [h for h in hooks if h['type'] == 'lift_mm.ClassInfoHook']
    if hooks and 'test_dataloader' in new:
        new['custom_hooks'] = hooks
    new['model'] = model
    imports = (new.pop('custom_imports', None) or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    imports = [name for name in imports if name != 'lift_mm']
    if 'lift_mm.' in str(new):
        imports.insert(0, 'lift_mm')
    if imports:
        new['custom_imports'] = dict(
            imports=imports, allow_failed_imports=False
        )
    return Config(new)


def image_size(net: nn.Module, config: dict) -> tuple[int, int]:
    """Give height and width of images that a backbone reads."""
    sizes = (getattr(module, 'img_size', None) for module in net.modules())
    size = next(filter(None, sizes), None) or config.get('img_size', 224)
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)


@torch.no_grad()
def compare(tuned: nn.Module, merged: nn.Module, x: Tensor, what: str) -> None:
    """Print how far the logits of two models are apart.

    Raises:
        ValueError: So far that something is wrong.
    """
    expected, found = (m(x, mode='tensor') for m in (tuned, merged))
    error = float((found - expected).abs().max())
    scale = float(expected.abs().max())
    print(
        f'Largest logit difference on {what}: {error:.2e} (logits up to '
        f'{scale:.2f}).'
    )
    if not error <= 1e-4 * scale:
        raise ValueError(
            f'The merged files do not compute what the model does (logits '
            f'differ by {error:.2e}): do not use them (key `model.backbone`).'
        )


def write(cfg: Config, merged: nn.Module, meta: dict, out: Path) -> Config:
    """Write ``OUT.pth`` and ``OUT.py``, and give that config."""
    state = {
        key: value.detach().clone().contiguous()
        for key, value in merged.state_dict().items()
        if key != 'fingerprint'
    }
    card = dict(
        dataset_meta=class_card(meta),
        unmerged=merged.unmerged,
        lift_mm_version=lift_mm.__version__,
        mmpretrain_version=mmpretrain.__version__,
    )
    new = whole_config(cfg, model_config(cfg.model.to_dict(), merged, card))
    out.parent.mkdir(parents=True, exist_ok=True)
    whole_files.save(dict(meta=card, state_dict=state), f'{out}.pth')
    new.dump(f'{out}.py')
    return new


def main(args=None) -> None:
    args = parse_args(args)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    backbone = cfg.model.get('backbone') or {}
    if not str(backbone.get('type')).endswith('TunedBackbone'):
        raise ValueError(
            f'{backbone.get("type")} has no tuners to merge (key '
            '`model.backbone.type`, which must be lift_mm.TunedBackbone).'
        )
    tuned, meta = build_tuned(cfg, args.checkpoint)
    widen = can_widen(tuned.backbone)
    merged = merge(tuned, args.strict, widen, log=False)
    out = Path(args.out)
    out = out.with_suffix('') if out.suffix in ('.pth', '.py') else out
    new = write(cfg, merged, meta, out)

    # Read back what was written: that is what will be used.
    rebuilt = get_model(f'{out}.py', device='cpu')
    rebuilt.load_state_dict(load_file(f'{out}.pth')['state_dict'])
    size = image_size(tuned.backbone, backbone['backbone'])
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, *size, generator=stream)
    compare(tuned, rebuilt, x, 'random input')
    if args.images:
        images = read_images(cfg.test_dataloader.dataset.pipeline, args.images)
        x = tuned.data_preprocessor(dict(inputs=images))['inputs']
        compare(tuned, rebuilt, x, f'{len(args.images)} images')
    for sentence in merged.unmerged:
        print(f'Not merged: {sentence}')
    needs = set(re.findall(r'lift_mm\.\w+', str(new.model)))
    print(f'Needs lift_mm for: {", ".join(sorted(needs)) or "nothing"}.')
    print(f'Written: {out}.py and {out}.pth')


if __name__ == '__main__':
    main()
