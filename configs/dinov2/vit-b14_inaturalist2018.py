_base_ = [
    '../_base_/models/dinov2-vit-b14_lift.py',
    '../_base_/datasets/inaturalist2018_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=8142))
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
)
train_cfg = dict(max_epochs=20)
