# LIFT on CLIP's ResNet: one scale and shift of the pooled feature, and all
# biases. The feature is behind CLIP's projection, 1024 wide.
_base_ = 'clip-vit-b16_lift.py'

model = dict(
    backbone=dict(
        backbone=dict(type='lift_mm.CLIPResNet', arch='RN50'),
        tuners=[dict(type='SSF'), dict(type='BitFit')],
    ),
    head=dict(in_channels=1024),
)
