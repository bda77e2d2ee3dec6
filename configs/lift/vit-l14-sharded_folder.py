_base_ = [
    '../_base_/models/clip-vit-l14_lift.py',
    '../_base_/datasets/folder_clip_224.py',
    '../_base_/schedules/lift_sgd_10e.py',
    '../_base_/default_runtime.py',
]

# each GPU holds its share of the frozen tower, in half precision, and all of
# what learns (docs/many_gpus.md).
runner_type = 'lift_mm.ShardedRunner'
model = dict(backbone=dict(frozen_dtype='bfloat16'))
