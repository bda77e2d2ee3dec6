# Half the rank that LIFT takes.
_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='LoRA', sizing='lift+')]))
