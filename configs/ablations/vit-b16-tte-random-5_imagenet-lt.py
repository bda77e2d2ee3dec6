# Test a checkpoint of LIFT with this config and `--tta`: random crops.
_base_ = '../lift/vit-b16_imagenet-lt.py'

tta_pipeline = [
    _base_.load_image,
    dict(type='lift_mm.MultiCrop', crop_size=224, mode='random', num_crops=5),
]
