_base_ = [
    '../_base_/models/clip-rn101_lift-plus.py',
    '../_base_/datasets/imagenet-lt_clip_224_lift-plus.py',
    '../_base_/schedules/lift-plus_sgd_5e.py',
    '../_base_/default_runtime.py',
]
