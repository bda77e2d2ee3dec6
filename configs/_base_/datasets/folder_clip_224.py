# Your own images: one folder for each class, see `lift_mm.LongTailFolder`.
# Set `data_root` of the datasets and `num_classes` of the head.
data_preprocessor = dict(
    # what CLIP was trained with, times 255, in RGB order
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    to_rgb=True,  # files are read as BGR
)

# Pillow reads orientation tags, which cameras write.
load_image = dict(type='LoadImageFromFile', imdecode_backend='pillow')

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        crop=dict(
            type='lift_mm.RandomResizedCrop',
            scale=224,
            interpolation='bilinear',
        ),
    ),
    dict(type='lift_mm.RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

test_pipeline = [
    load_image,
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

# test-time ensembling (`tools/test.py --tta`): mean logits of five crops
tta_pipeline = [
    load_image,
    dict(
        type='ResizeEdge',
        scale=248,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=224),
]
tta_model = dict(type='lift_mm.MeanLogitTTA')

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.LongTailFolder',
        data_root='data/photos',
        split='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.LongTailFolder',
        data_root='data/photos',
        split='val',
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='lift_mm.LongTailMetric')
test_evaluator = val_evaluator
