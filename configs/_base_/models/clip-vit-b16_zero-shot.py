# CLIP's own classifier: the projected feature against the class names' text
# features, times CLIP's 100. Nothing is trained, no checkpoint is needed.
_base_ = 'clip-vit-b16_lift.py'

model = dict(
    backbone=dict(tuners=[]),
    neck=dict(type='lift_mm.CLIPProjection'),
    head=dict(in_channels=512, scale=100, init=dict(project=False)),
)
