# LIFT on the embedded default: the recipe of ../lift/ with a small CLIP, made
# short: 390 steps instead of thousands, so small batches and a larger rate.
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
        ),
        # LIFT's rule gives 1 for ten classes.
        tuners=[dict(type='AdaptFormer', hidden_dims=16)],
    ),
    head=dict(num_classes=10, in_channels=192),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_cfg = dict(max_epochs=5, val_interval=5)
default_hooks = dict(logger=dict(interval=20))
