_base_ = [
    '../_base_/models/in21k-vit-b16_lift.py',
    '../_base_/datasets/cifar100-lt_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
data_preprocessor = dict(
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
)
