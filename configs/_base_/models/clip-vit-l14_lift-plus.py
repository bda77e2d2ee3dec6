_base_ = 'clip-vit-l14_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='AdaptFormer', init='lift+', sizing='lift+')]
    )
)
