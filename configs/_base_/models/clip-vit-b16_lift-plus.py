# LIFT+ on CLIP: as LIFT, but another draw of the bottlenecks, whose width
# counts the blocks that have one.
_base_ = 'clip-vit-b16_lift.py'

model = dict(
    backbone=dict(
        tuners=[dict(type='AdaptFormer', init='lift+', sizing='lift+')]
    )
)
