# CLIP's own zero-shot classifier: nothing is trained, no checkpoint needed.
_base_ = 'lift_fashion-mnist-lt.py'

model = dict(
    backbone=dict(tuners=[]),
    neck=dict(type='lift_mm.CLIPProjection'),
    head=dict(in_channels=128, init=dict(project=False)),
)
