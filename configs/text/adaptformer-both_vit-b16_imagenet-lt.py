_base_ = '../lift/vit-b16_imagenet-lt.py'
# LIFT's AdaptFormer in the image tower, a small one of fixed size in the text
# tower (LIFT+), and both projections learned.
model = dict(
    neck=dict(type='lift_mm.CLIPProjection', tuned=True),
    head=dict(
        _delete_=True,
        type='lift_mm.TextHead',
        num_classes=1000,
        text=dict(
            type='lift_mm.TunedBackbone',
            backbone=dict(type='lift_mm.CLIPText'),
            tuners=[dict(type='AdaptFormer', hidden_dims=4)],
        ),
        tune='text_projection',
        chunk_size=100,
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
