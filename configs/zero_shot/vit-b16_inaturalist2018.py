_base_ = [
    '../_base_/models/clip-vit-b16_zero-shot.py',
    '../_base_/datasets/inaturalist2018_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=8142))
