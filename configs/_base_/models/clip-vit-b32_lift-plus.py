_base_ = 'clip-vit-b32_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='AdaptFormer', init='lift+', sizing='lift+')]
    )
)
