"""Miniatures of what users have: an ImageNet tree, a CLIP, photos."""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

REPO = Path(__file__).parents[1]


def photo(path: Path, seed: int, size=(48, 36)) -> None:
    """Write a small picture of noise over a colour that the seed chooses."""
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 200, size=3)
    pixels = colour + rng.integers(0, 56, size=(size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def clip(folder: Path) -> dict:
    """Write a random CLIP in open_clip's formats.

    Returns:
        ``arch`` and ``pretrained`` paths and the ``width`` of its features.
        Four patches of 112 pixels: the recipes' 224 pixels cost nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arch = dict(
        embed_dim=32,
        quick_gelu=True,
        vision_cfg=dict(
            image_size=224, layers=2, width=64, head_width=32, patch_size=112
        ),
        text_cfg=dict(width=32, heads=2, layers=1),
    )
    torch.manual_seed(0)
    model = open_clip.CLIP(**arch)
    with torch.no_grad():
        for parameter in model.visual.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    torch.save(model.state_dict(), folder / 'clip.pt')
    (folder / 'clip.json').write_text(json.dumps(arch))
    return dict(
        arch=str(folder / 'clip.json'),
        pretrained=str(folder / 'clip.pt'),
        width=64,
    )


def imagenet_lt(root: Path, tests: int = 101) -> Path:
    """Write ImageNet-LT in its real layout: 1000 classes, few pixels.

    ``train/<wnid>/*.JPEG``, ``val/<wnid>/*.JPEG`` and the three published
    list files; the first classes have three images, the last ones one.
    """
    lists = dict(train=[], val=[], test=[])
    for label in range(1000):
        wnid = f'n{10_000_000 + label}'
        for number in range(3 if label < 30 else 1):
            name = f'train/{wnid}/{wnid}_{number}.JPEG'
            photo(root / name, label)
            lists['train'].append(f'{name} {label}')
        if label % 25 == 0:
            lists['val'].append(f'train/{wnid}/{wnid}_0.JPEG {label}')
    for number in range(tests):
        label = 7 * number % 1000
        wnid = f'n{10_000_000 + label}'
        name = f'val/{wnid}/ILSVRC2012_val_{number:08}.JPEG'
        photo(root / name, label)
        lists['test'].append(f'{name} {label}')
    for split, lines in lists.items():
        path = root / f'ImageNet_LT_{split}.txt'
        path.write_text('\n'.join(lines) + '\n')
    return root


def options(clip_files: dict, root: Path) -> list:
    """Give ``--cfg-options`` that put the miniatures into a recipe."""
    inner = 'model.backbone.backbone'
    found = [
        f'{inner}.arch={clip_files["arch"]}',
        f'{inner}.pretrained={clip_files["pretrained"]}',
        f'model.head.in_channels={clip_files["width"]}',
    ]
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        found.append(f'{loader}.dataset.data_root={root}')
        found.append(f'{loader}.num_workers=1')
    return found
