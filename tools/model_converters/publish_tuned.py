"""Write the learned tensors of a checkpoint as a small file to share.

``OUT_DIR/{config}_{date}-{hash}.pth`` holds the learned tensors, the
fingerprint of their base, and a card in its ``meta``; no base weights, no
optimizer, no log. ``tools/test.py``, ``mmpretrain.get_model`` and
``lift_mm.apis.load_tuned`` take it as a checkpoint.
"""

import argparse
import datetime
import hashlib
import io
import json
import re
from pathlib import Path

import mmpretrain
import torch
from mmengine.config import Config, DictAction

import lift_mm
from lift_mm import whole_files
from lift_mm.apis import build_tuned, class_card, tuned_state
from lift_mm.models.classifier import (
    LongTailClassifier,
    _decode,
    _encode,
)
from lift_mm.tuners import FrozenBase


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the config of the training run')
    parser.add_argument('checkpoint', help='one of its checkpoints')
    parser.add_argument('out_dir', help='the folder to write to')
    parser.add_argument('--name', help="file name instead of the config's")
    parser.add_argument(
        '--metrics',
        help='a JSON file of numbers for the card, as written by '
        '"tools/test.py --out FILE --out-item metrics"',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args(args)


def public(identity: dict) -> dict:
    """Drop the folders of local files from the names of bases."""
    base = [
        [re.sub(r'[^(,\s]*[/\\]', '', name), sha]
        for name, sha in identity['base']
    ]
    return dict(identity, base=base)


def card(model: LongTailClassifier, meta: dict, metrics: dict | None) -> dict:
    """Give what a reader of the file wants to know, in plain types."""
    identity = public(_decode(model.fingerprint))
    found = dict(
        base=identity['base'],
        tuners=identity['tuners'],
        num_classes=identity['num_classes'],
        dataset_meta=class_card(meta),
        lift_mm_version=lift_mm.__version__,
        mmpretrain_version=mmpretrain.__version__,
    )
    if metrics is not None:
        found['metrics'] = metrics
    return found


def publish(args: argparse.Namespace) -> Path:
    """Write the file, and give its path."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    model, meta = build_tuned(cfg, args.checkpoint)
    if not isinstance(model, LongTailClassifier):
        raise ValueError(
            f'{type(model).__name__} has no fingerprint of its base; use '
            'lift_mm.LongTailClassifier (key `model.type`).'
        )
    if any(m.replaced for m in model.modules() if isinstance(m, FrozenBase)):
        raise ValueError(
            'The checkpoint brings along another base than the config loads, '
            'and a tuned file holds none: name its weights in the config '
            '(key `model.backbone.backbone.pretrained`).'
        )
    metrics = (
        json.loads(Path(args.metrics).read_text()) if args.metrics else None
    )
    state = tuned_state(model)
    identity = public(_decode(state['fingerprint']))
    state['fingerprint'] = _encode(identity)
    folder = Path(args.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(dict(meta=card(model, meta, metrics), state_dict=state), buffer)
    data = whole_files.seal(buffer.getvalue())
    sha = hashlib.sha256(data).hexdigest()[:8]
    name = args.name or Path(args.config).stem
    out = folder / f'{name}_{datetime.datetime.now():%Y%m%d}-{sha}.pth'
    whole_files.write(data, out)
    learned = sum(v.numel() * v.element_size() for v in state.values())
    print(f'{out}: {out.stat().st_size:,} bytes, {learned:,} of them learned')
    return out


def main(args=None) -> None:
    publish(parse_args(args))


if __name__ == '__main__':
    main()
