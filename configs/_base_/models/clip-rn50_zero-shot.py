# The feature of CLIP's ResNet is behind its projection: no neck.
_base_ = 'clip-rn50_lift.py'

model = dict(backbone=dict(tuners=[]), head=dict(scale=100))
