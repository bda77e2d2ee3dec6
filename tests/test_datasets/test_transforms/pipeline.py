"""Short pipelines, and the published pixels by kind."""

import numpy as np
from mmpretrain.registry import TRANSFORMS
from parity_data import load

STYLES = {'v1': 'bilinear', 'plus': 'bicubic'}
LOAD = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)


def run(path, *transforms):
    """Run a pipeline; give what a collated batch of one would hold."""
    results = dict(img_path=str(path), gt_label=3, sample_idx=0)
    for cfg in (LOAD, *transforms):
        results = TRANSFORMS.build({'_scope_': 'mmpretrain', **cfg})(results)
    return results


def run_steps(path, *steps):
    """Run a pipeline that loads the image itself."""
    results = dict(img_path=str(path), gt_label=3, sample_idx=0)
    for step in steps:
        if isinstance(step, dict):
            step = TRANSFORMS.build({'_scope_': 'mmpretrain', **step})
        results = step(results)
    return results


def box(scale=48, kind='RandomResizedCrop', **keys):
    return dict(type=f'lift_mm.{kind}', scale=scale, **keys)


def fused(crop, **keys):
    return dict(type='lift_mm.LoadCrop', crop=crop, **keys)


def flip():
    return dict(type='lift_mm.RandomFlip')


def rgb(image):
    return image.flip(0)


def cases(kind):
    names = [n for n in load('transforms') if kind in n.split('/')[-1]]
    return sorted(n for n in names if not n.endswith('f32'))


def noise(height, width, *channels):
    rng = np.random.RandomState(height + width)
    return rng.randint(0, 256, (height, width, *channels), np.uint8)
