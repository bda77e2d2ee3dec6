# The same positions in every block, as that program draws them.
_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='MaskedTuning', draw='lift+')]))
