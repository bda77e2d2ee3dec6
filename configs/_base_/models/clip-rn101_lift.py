_base_ = 'clip-rn50_lift.py'

model = dict(
    backbone=dict(backbone=dict(arch='RN101')),
    head=dict(in_channels=512),
)
