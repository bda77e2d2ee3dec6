"""Learned parameters with the real geometry of ViT-B/16 and ViT-L/14."""

import copy
import json
import sys

import parity_data
import pytest
import torch
from mmpretrain.models import VisionTransformer
from parity_models import tuners_of

from lift_mm.tuners import attach_tuners, freeze, learned_parameters

COUNTS = json.loads((parity_data.ROOT / 'sizes_and_counts.json').read_text())
COUNTS = COUNTS['learned_parameters_vit_b16']
CLASSES = {
    'CIFAR-100': 100,
    'Places-LT': 365,
    'ImageNet-LT': 1000,
    'iNaturalist 2018': 8142,
}
# Sizes that do not follow the number of classes are counted once.
FIXED = ('bias_tuning', 'bitfit', 'full', 'fft', 'ln_tuning', 'ssf', 'vpt')


@pytest.fixture(scope='module')
def base():
    return VisionTransformer(
        'base', pre_norm=True, norm_cfg=dict(type='LN', eps=1e-5)
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Numbers alone are wanted: no hash of weights, no real draw."""
    module = sys.modules['lift_mm.tuners.freeze']
    monkeypatch.setattr(module, 'fingerprint', lambda net: '')
    monkeypatch.setattr(
        torch, 'randperm', lambda size, generator=None: torch.arange(size)
    )


ROWS = [
    name
    for name in sorted(COUNTS)
    if name.endswith('ImageNet-LT')
    or not any(f'/{word}' in name for word in FIXED)
]


@pytest.mark.parametrize('name', ROWS)
def test_count(base, name):
    repo, method, data = name.split('/')
    options = {method: True, 'full_tuning': method == 'full'}
    if repo == 'plus':
        options['plus'] = True
    tuners = tuners_of(options)
    assert len(tuners) == 1
    if repo.endswith('L14') or method in ('lora', 'adapter', 'pt'):
        with torch.device('meta'):
            arch = 'large' if repo.endswith('L14') else 'base'
            net = VisionTransformer(arch, patch_size=14)
            freeze(net, 'net')
            attach_tuners(net, tuners, CLASSES[data])
    else:
        net = copy.deepcopy(base)
        freeze(net, 'net')
        attach_tuners(net, tuners, CLASSES[data])
    learned = sum(p.numel() for p in learned_parameters(net).values())
    assert learned == COUNTS[name]['tuner']
    assert net.embed_dims * CLASSES[data] == COUNTS[name]['head']
