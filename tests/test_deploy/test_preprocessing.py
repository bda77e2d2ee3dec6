"""Test pipelines in words."""

import pytest
from torch import nn

from lift_mm import deploy

LOAD = dict(type='LoadImageFromFile', imdecode_backend='pillow')
PACK = dict(type='PackInputs')
CV2 = dict(interpolation='bilinear', library='opencv')


@pytest.mark.parametrize(
    'step, expected',
    [
        (LOAD, []),
        (
            dict(type='ResizeEdge', scale=256),
            [dict(op='resize_edge', edge='short', size=256, **CV2)],
        ),
        (
            dict(
                type='mmpretrain.ResizeEdge',
                scale=36,
                edge='width',
                backend='pillow',
                interpolation='bicubic',
            ),
            [
                dict(
                    op='resize_edge',
                    edge='width',
                    size=36,
                    interpolation='bicubic',
                    library='pillow',
                )
            ],
        ),
        (
            dict(type='Resize', scale=(40, 30)),
            [dict(op='resize', height=30, width=40, **CV2)],
        ),
        (
            dict(type='CenterCrop', crop_size=(40, 30)),
            [dict(op='center_crop', height=30, width=40)],
        ),
        (
            dict(type='CenterCrop', crop_size=32),
            [dict(op='center_crop', height=32, width=32)],
        ),
    ],
)
def test_describe(step, expected):
    assert deploy.describe([step, PACK]) == expected


@pytest.mark.parametrize(
    'step',
    [
        dict(type='LoadImageFromFile', color_type='grayscale'),
        dict(type='Resize', scale=32, keep_ratio=True),
        dict(type='Resize', scale_factor=0.5),
        dict(type='CenterCrop', crop_size=32, auto_pad=True),
        dict(type='RandomFlip', prob=0.5),
    ],
)
def test_what_has_no_words(step):
    key = r'test_dataloader\.dataset\.pipeline'
    with pytest.raises(ValueError, match=f'{step["type"]}.*{key}'):
        deploy.describe([step])


@pytest.mark.parametrize(
    'pipeline, img_size, expected',
    [
        ([dict(type='CenterCrop', crop_size=(40, 30)), PACK], 7, (30, 40)),
        ([dict(type='CenterCrop', crop_size=9), dict(LOAD)], None, (9, 9)),
        ([LOAD, PACK], 7, (7, 7)),
        ([LOAD, PACK], (6, 7), (6, 7)),
        ([dict(type='ResizeEdge', scale=9)], 7, (7, 7)),
    ],
)
def test_size(pipeline, img_size, expected):
    model = nn.Sequential(nn.ReLU())
    model[0].img_size = img_size
    assert deploy.image_size(model, pipeline) == expected


def test_unknown_size():
    with pytest.raises(ValueError, match='CenterCrop'):
        deploy.image_size(nn.ReLU(), [dict(type='ResizeEdge', scale=9)])
