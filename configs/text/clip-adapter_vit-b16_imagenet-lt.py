_base_ = '../lift/vit-b16_imagenet-lt.py'
# CLIP-Adapter as in LIFT+: bottlenecks on both sides' projected features.
# The text tower does not learn: it runs once an epoch.
model = dict(
    backbone=dict(tuners=[]),
    neck=dict(
        type='lift_mm.CLIPProjection',
        adapter=dict(type='CLIPAdapter', hidden_dims=4),
    ),
    head=dict(
        _delete_=True,
        type='lift_mm.TextHead',
        num_classes=1000,
        adapter=dict(type='CLIPAdapter', hidden_dims=4),
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
