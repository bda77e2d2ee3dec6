_base_ = 'clip-vit-l14_lift.py'

model = dict(
    backbone=dict(tuners=[]),
    neck=dict(type='lift_mm.CLIPProjection'),
    head=dict(in_channels=768, scale=100, init=dict(project=False)),
)
