"""A trained run whose classes have names that once broke something."""

from pathlib import Path

import numpy as np
from PIL import Image
from test_tuners import tiny_models

NAMES = [
    '</script><b>bold</b>',
    'quote\'s "both" & more',
    'שלום \u202eright to left',
    '🦊 {} {0} {{ 7 * 7 }} %s',
    '=cmd()|$x_{1}$',
]
COUNTS = [101, 30, 5, 4, 3]
TESTED = [6, 5, 4, 3, 0]  # the last class has no test image


def write_list(root: Path, split: str, counts: list[int]) -> dict:
    """Write images and a list of them, and give its dataset's config."""
    rng = np.random.default_rng(len(split))
    lines = []
    for label, number in enumerate(counts):
        for index in range(number):
            pixels = rng.integers(0, 160, (16, 16, 3), dtype=np.uint8)
            pixels[..., label % 3] += np.uint8(90)
            name = f'{split}_{label}_{index}.png'
            Image.fromarray(pixels).save(root / name)
            lines.append(f'{name} {label}')
    (root / f'{split}.txt').write_text('\n'.join(lines))
    return dict(
        type='lift_mm.LongTailList',
        data_root=str(root),
        ann_file=f'{split}.txt',
        classes=NAMES,
        test_mode=split == 'test',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )


def run_config(folder: Path, **kwargs) -> dict:
    """Give the config of a training on such classes, one epoch long."""
    folder.mkdir(parents=True, exist_ok=True)
    train = tiny_models.loader(write_list(folder, 'train', COUNTS))
    test = tiny_models.loader(write_list(folder, 'test', TESTED))
    test['sampler']['shuffle'] = False
    metric = dict(type='lift_mm.LongTailMetric')
    model = tiny_models.model_config(
        tiny_models.clip_file(folder),
        num_classes=len(NAMES),
        init=dict(type='SemanticInit'),
    )
    settings = dict(
        train_dataloader=dict(train, batch_size=16),
        val_dataloader=test,
        test_dataloader=test,
        val_evaluator=metric,
        test_evaluator=metric,
        val_cfg=dict(),
        test_cfg=dict(),
        train_cfg=dict(type='lift_mm.ResumableEpochLoop', max_epochs=1),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=3)),
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
    )
    return tiny_models.run_config(
        folder / 'run', model, folder, **settings | kwargs
    )
