# CIFAR-100-LT as LIFT+ trains on it: crops that grow, no flip, all bicubic
_base_ = 'cifar100-lt_clip_224.py'

train_pipeline = [
    dict(type='lift_mm.MinimalistRandomResizedCrop', scale=224),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
tta_pipeline = [
    dict(
        type='ResizeEdge',
        scale=248,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=224),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Many, medium and few go by the images that there are; LIFT takes those of
# imbalance ratio 100. At ratio 10 no class is few.
val_evaluator = dict(groups='train')
test_evaluator = val_evaluator
