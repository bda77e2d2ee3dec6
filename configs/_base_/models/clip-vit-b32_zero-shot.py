_base_ = 'clip-vit-b32_lift.py'

model = dict(
    backbone=dict(tuners=[]),
    neck=dict(type='lift_mm.CLIPProjection'),
    head=dict(in_channels=512, scale=100, init=dict(project=False)),
)
