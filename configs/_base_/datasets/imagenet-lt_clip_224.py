# ImageNet-LT as LIFT trains on it (Shi et al., ICML 2024, section 5.1)
data_root = 'data/imagenet'
data_preprocessor = dict(
    num_classes=1000,
    # what CLIP was trained with, times 255, in RGB order
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    to_rgb=True,  # files are read as BGR
)

# Pillow throughout, and orientation tags ignored: the published pixels.
load_image = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)

train_pipeline = [
    dict(
        type='lift_mm.LoadCrop',
        color_type='color_ignore_orientation',
        crop=dict(
            type='lift_mm.RandomResizedCrop',
            scale=224,
            crop_ratio_range=(0.08, 1.0),
            aspect_ratio_range=(3.0 / 4.0, 4.0 / 3.0),
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
    num_workers=8,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.ImageNetLT',
        data_root=data_root,
        ann_file='ImageNet_LT_train.txt',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.ImageNetLT',
        data_root=data_root,
        ann_file='ImageNet_LT_val.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

test_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(
        type='lift_mm.ImageNetLT',
        data_root=data_root,
        ann_file='ImageNet_LT_test.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)

val_evaluator = dict(type='lift_mm.LongTailMetric')
test_evaluator = val_evaluator
