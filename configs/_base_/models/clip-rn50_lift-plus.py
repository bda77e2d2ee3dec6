# LIFT+ on CLIP's ResNet: biases of the residual blocks only, not those of
# the stem and the attention pool.
_base_ = 'clip-rn50_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='SSF'), dict(type='BitFit', scope='lift+')]
    )
)
