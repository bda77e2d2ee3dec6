"""What a config needs, and whether it is here."""

import pytest
import torch
from miniature import REPO
from mmengine.config import Config

from lift_mm.reproduce.at_hand import data, weights


def test_data(tmp_path):
    cfg = Config.fromfile(REPO / 'configs/lift/vit-b16_imagenet-lt.py')
    text, lacking = data(cfg, tmp_path)
    assert lacking == [
        'data/imagenet/ImageNet_LT_train.txt',
        'data/imagenet/ImageNet_LT_test.txt',
    ]
    assert text == f'lacks {", ".join(lacking)}'
    for path in lacking:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert data(cfg, tmp_path) == ('at hand', [])


def test_data_that_download_themselves(tmp_path):
    cfg = Config.fromfile(REPO / 'configs/lift/vit-b16_cifar100-lt-ir100.py')
    assert data(cfg, tmp_path) == ('to be downloaded', [])
    folder = cfg.train_dataloader.dataset.data_root
    (tmp_path / folder / 'cifar-100-python').mkdir(parents=True)
    assert data(cfg, tmp_path) == ('at hand', [])


def backbone(**keys):
    return Config(dict(model=dict(backbone=dict(backbone=keys))))


@pytest.mark.parametrize(
    'keys, expected',
    [
        (dict(arch='ViT-B-16', pretrained=None), 'none'),
        (dict(arch='ViT-B-16', pretrained='here.pt'), 'at hand'),
        (dict(arch='ViT-B-16', pretrained='gone.pt'), 'lacks gone.pt'),
        (dict(arch='ViT-B-16', pretrained='openai'), 'to be downloaded'),
        (dict(init_cfg=dict(type='TruncNormal')), 'none'),
        (
            dict(init_cfg=dict(type='Pretrained', checkpoint='here.pt')),
            'at hand',
        ),
        (
            dict(
                init_cfg=dict(
                    type='Pretrained', checkpoint='https://x.org/a/cached.pth'
                )
            ),
            'at hand',
        ),
        (
            dict(
                init_cfg=dict(
                    type='Pretrained', checkpoint='https://x.org/a/other.pth'
                )
            ),
            'to be downloaded',
        ),
    ],
)
def test_weights(tmp_path, monkeypatch, keys, expected):
    (tmp_path / 'here.pt').touch()
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'cached.pth').touch()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr(
        'huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'hub')
    )
    assert weights(backbone(**keys), tmp_path) == expected


def test_weights_that_were_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / '.cache' / 'clip').mkdir(parents=True)
    (tmp_path / '.cache' / 'clip' / 'ViT-B-16.pt').touch()
    cfg = backbone(arch='ViT-B-16', pretrained='openai')
    assert weights(cfg, tmp_path) == 'at hand'
