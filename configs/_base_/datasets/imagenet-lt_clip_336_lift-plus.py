# ImageNet-LT as LIFT+ trains on it, for ViT-L/14@336px
_base_ = 'imagenet-lt_clip_224.py'

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        color_type='color_ignore_orientation',
        crop=dict(type='lift_mm.MinimalistRandomResizedCrop', scale=336),
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=384,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=336),
    dict(type='PackInputs'),
]
tta_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=360,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=336),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
