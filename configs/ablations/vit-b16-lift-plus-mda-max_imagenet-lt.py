_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        color_type='color_ignore_orientation',
        crop=dict(
            type='lift_mm.MinimalistRandomResizedCrop',
            scale=224,
            schedule='max',
        ),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
