_base_ = [
    '../_base_/models/clip-vit-l14-336_lift-plus.py',
    '../_base_/datasets/imagenet-lt_clip_336_lift-plus.py',
    '../_base_/schedules/lift-plus_sgd_5e.py',
    '../_base_/default_runtime.py',
]

# 8 steps of 16 images make one of 128.
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(accumulative_counts=8)
auto_scale_lr = dict(base_batch_size=16)
