_base_ = [
    '../_base_/models/clip-vit-l14_lift.py',
    '../_base_/datasets/cifar100-lt_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
# 21 more than the crop, one and a half patches.
tta_pipeline = [
    dict(
        type='ResizeEdge',
        scale=245,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=224),
]
