# The embedded Fashion-MNIST-LT, a folder of images like a user's own.
data_root = 'data/fashion-mnist-lt'
data_preprocessor = dict(
    num_classes=10,
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    to_rgb=True,
)

load_image = dict(type='LoadImageFromFile', imdecode_backend='pillow')
resize = dict(
    type='ResizeEdge',
    scale=36,
    edge='short',
    backend='pillow',
    interpolation='bilinear',
)

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        crop=dict(
            type='lift_mm.RandomResizedCrop',
            scale=32,
            crop_ratio_range=(0.5, 1.0),  # LIFT's 0.08 leaves 8 pixels of 28
            interpolation='bilinear',
        ),
    ),
    dict(type='lift_mm.RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

test_pipeline = [
    load_image,
    resize,
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]

# test-time ensembling (`tools/test.py --tta`): mean logits of five crops
tta_pipeline = [
    load_image,
    resize,
    dict(type='lift_mm.MultiCrop', crop_size=32),
]
tta_model = dict(type='lift_mm.MeanLogitTTA')

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.LongTailFolder',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.LongTailFolder',
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_evaluator = dict(type='lift_mm.LongTailMetric')

# No third set: the last epoch is tested, and nothing is chosen by the test.
val_dataloader = test_dataloader
val_evaluator = test_evaluator
