# ImageNet-LT as LIFT trains on it, for ViT-L/14@336px
_base_ = 'imagenet-lt_clip_224.py'

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        color_type='color_ignore_orientation',
        crop=dict(
            type='lift_mm.RandomResizedCrop',
            scale=336,
            crop_ratio_range=(0.08, 1.0),
            aspect_ratio_range=(3.0 / 4.0, 4.0 / 3.0),
            interpolation='bilinear',
        ),
    ),
    dict(type='lift_mm.RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=384,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='CenterCrop', crop_size=336),
    dict(type='PackInputs'),
]
# 21 more than the crop, one and a half patches (LIFT with ViT-L/14)
tta_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=357,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=336),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
