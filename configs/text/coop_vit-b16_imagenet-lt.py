_base_ = '../lift/vit-b16_imagenet-lt.py'
# CoOp as in LIFT+: four learned words in front of the class name, nothing
# else; the class names' text features are the classifier.
model = dict(
    backbone=dict(tuners=[]),
    neck=dict(type='lift_mm.CLIPProjection'),
    head=dict(
        _delete_=True,
        type='lift_mm.TextHead',
        num_classes=1000,
        prompt=dict(type='CoOp', length=4, position='end'),
        chunk_size=100,
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=0.002))
auto_scale_lr = dict(base_batch_size=32)
