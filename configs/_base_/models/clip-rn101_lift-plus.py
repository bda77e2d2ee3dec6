_base_ = 'clip-rn101_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='SSF'), dict(type='BitFit', scope='lift+')]
    )
)
