# CIFAR-100-LT as LIFT trains on it (Shi et al., ICML 2024, section 5.1)
data_root = 'data/cifar100'
data_preprocessor = dict(
    num_classes=100,
    # what CLIP was trained with, times 255, in RGB order
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    to_rgb=False,  # CIFAR images are RGB already
)

train_pipeline = [
    dict(
        type='lift_mm.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        aspect_ratio_range=(3.0 / 4.0, 4.0 / 3.0),
        interpolation='bilinear',
    ),
    dict(type='lift_mm.RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]

test_pipeline = [
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
        type='lift_mm.CIFAR100LT',
        data_root=data_root,
        split='train',
        imbalance_ratio=100,
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
        type='lift_mm.CIFAR100LT',
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
# CIFAR has no third set; LIFT tests the last epoch and chooses nothing by it
test_dataloader = val_dataloader

# LIFT's program parts the classes by the counts of imbalance ratio 100 for
# every ratio, so that many, medium and few are the same 35, 35 and 30 classes.
val_evaluator = dict(type='lift_mm.LongTailMetric', groups='ir100')
test_evaluator = val_evaluator
