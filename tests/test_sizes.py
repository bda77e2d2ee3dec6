"""The recipes' tuners have the published numbers of parameters."""

import full_size
import pytest
from miniature import REPO
from mmengine.config import Config

# Methods whose size follows the number of classes, and the number of
# parameters that learn for 100, 365, 1000 and 8142 of them.
SIZES = {
    'lift/vit-b16': (101436, 175212, 617868, 4749324),
    'lift_plus/vit-b16': (101436, 175212, 617868, 4749324),
    'lift/vit-l14': (172104, 270456, 860568, 6368280),
    'lift_plus/vit-l14': (172104, 270456, 860568, 6368280),
    'tuners/vit-b16-adaptformer': (101436, 175212, 617868, 4749324),
    'tuners/vit-b16-adapter': (101424, 175200, 617856, 4749312),
    'tuners/vit-b16-lift-plus-adapter': (101424, 175200, 617856, 4749312),
    'tuners/vit-b16-lora': (147456, 294912, 1179648, 9437184),
    'tuners/vit-b16-lift-plus-lora': (73728, 147456, 589824, 4718592),
    'tuners/vit-b16-lift-plus-vpt-deep': (73728, 147456, 589824, 4718592),
    'tuners/vit-b16-vpt-deep': (92160,) * 4,
    'tuners/vit-b16-vpt-shallow': (7680,) * 4,
    'tuners/vit-b16-bitfit': (101376,) * 4,
    'tuners/vit-b16-lift-plus-bitfit': (101376,) * 4,
    'tuners/vit-b16-norm': (36864,) * 4,
    'tuners/vit-b16-ssf': (165888,) * 4,
    'tuners/vit-b16-lift-plus-ssf': (165888,) * 4,
    'tuners/vit-b16-ssf-attn': (73728,) * 4,
    'tuners/vit-b16-ssf-mlp': (92160,) * 4,
    'tuners/vit-b16-ssf-norm': (36864,) * 4,
    'linear_probe/vit-b16': (0,) * 4,
    'full_finetune/vit-b16': (85054464,) * 4,
    'partial/vit-b16-full-last1': (7087872,) * 4,
    'partial/vit-b16-full-last9': (9 * 7087872,) * 4,
    'lift/rn50': (2048 + 33792,) * 4,
    'lift_plus/rn50': (2048 + 26496,) * 4,
}
# A draw of positions takes its time: as published, once.
MASKED = {
    'tuners/vit-b16-masked': 765132,
    'tuners/vit-b16-lift-plus-masked': 767940,
}


@pytest.mark.parametrize(
    ('name', 'place'),
    [
        (name, place)
        for name, sizes in SIZES.items()
        for place in (range(4) if len(set(sizes)) > 1 else [2])
    ],
)
def test_published_sizes(name, place):
    """The recipe's own tuners have the published number of parameters."""
    cfg = Config.fromfile(REPO / f'configs/{name}_imagenet-lt.py')
    cfg.model.head.num_classes = classes = (100, 365, 1000, 8142)[place]
    found = full_size.count(cfg)
    assert found['learned'] == SIZES[name][place]
    assert found['head'] == classes * cfg.model.head.in_channels


@pytest.mark.parametrize('name', MASKED)
def test_published_sizes_of_masks(name):
    found = full_size.count(
        Config.fromfile(REPO / f'configs/{name}_imagenet-lt.py')
    )
    assert found['learned'] == MASKED[name]
