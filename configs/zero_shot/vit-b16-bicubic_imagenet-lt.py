# Resized as LIFT+ does it, and CLIP itself
_base_ = [
    '../_base_/models/clip-vit-b16_zero-shot.py',
    '../_base_/datasets/imagenet-lt_clip_224_lift-plus.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]
