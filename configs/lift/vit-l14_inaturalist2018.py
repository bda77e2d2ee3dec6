_base_ = [
    '../_base_/models/clip-vit-l14_lift.py',
    '../_base_/datasets/inaturalist2018_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=8142))
train_cfg = dict(max_epochs=20)
# 21 more than the crop, one and a half patches.
tta_pipeline = [
    _base_.load_image,
    dict(
        type='ResizeEdge',
        scale=245,
        edge='short',
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='lift_mm.MultiCrop', crop_size=224),
]
