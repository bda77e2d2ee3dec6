_base_ = [
    '../_base_/models/clip-vit-b32_lift-plus.py',
    '../_base_/datasets/places-lt_clip_224_lift-plus.py',
    '../_base_/schedules/lift-plus_sgd_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=365))
