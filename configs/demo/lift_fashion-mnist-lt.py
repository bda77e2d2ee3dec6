# LIFT on the embedded default: the recipe of ../lift/ with a small CLIP.
_base_ = [
    '../_base_/models/clip-vit-b16_lift.py',
    '../_base_/datasets/fashion-mnist-lt_clip_32.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        backbone=dict(
            arch='demo/mini-clip.json',
            pretrained='demo/mini-clip.safetensors',
        )
    ),
    head=dict(num_classes=10, in_channels=192),
)

train_cfg = dict(val_interval=5)
default_hooks = dict(logger=dict(interval=10))
