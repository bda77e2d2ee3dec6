_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(
    head=dict(
        _delete_=True,
        type='lift_mm.LinearHead',
        num_classes=1000,
        in_channels=768,
        init=dict(type='SemanticInit', template='a photo of a {}.'),
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    )
)
