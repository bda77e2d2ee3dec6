_base_ = 'clip-vit-l14-336_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='AdaptFormer', init='lift+', sizing='lift+')]
    )
)
