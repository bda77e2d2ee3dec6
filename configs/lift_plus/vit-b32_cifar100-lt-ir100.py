_base_ = [
    '../_base_/models/clip-vit-b32_lift-plus.py',
    '../_base_/datasets/cifar100-lt_clip_224_lift-plus.py',
    '../_base_/schedules/lift-plus_sgd_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
