# LIFT's crops and flips, bicubic
_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        color_type='color_ignore_orientation',
        crop=dict(
            type='lift_mm.RandomResizedCrop',
            scale=224,
            interpolation='bicubic',
        ),
    ),
    dict(type='lift_mm.RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
