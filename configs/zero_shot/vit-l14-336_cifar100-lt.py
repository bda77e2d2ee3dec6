_base_ = [
    '../_base_/models/clip-vit-l14-336_zero-shot.py',
    '../_base_/datasets/cifar100-lt_clip_336.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
