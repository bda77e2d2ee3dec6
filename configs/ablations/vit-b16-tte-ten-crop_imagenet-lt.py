# Test a checkpoint of LIFT with this config and `--tta`: five crops
# and their mirror images.
_base_ = '../lift/vit-b16_imagenet-lt.py'

tta_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=248,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=224, mode='ten'),
]
