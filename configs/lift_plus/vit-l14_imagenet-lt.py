_base_ = [
    '../_base_/models/clip-vit-l14_lift-plus.py',
    '../_base_/datasets/imagenet-lt_clip_224_lift-plus.py',
    '../_base_/schedules/lift-plus_sgd_5e.py',
    '../_base_/default_runtime.py',
]

# 4 steps of 32 images make one of 128.
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(accumulative_counts=4)
auto_scale_lr = dict(base_batch_size=32)
