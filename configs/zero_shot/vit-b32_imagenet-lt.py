_base_ = [
    '../_base_/models/clip-vit-b32_zero-shot.py',
    '../_base_/datasets/imagenet-lt_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]
