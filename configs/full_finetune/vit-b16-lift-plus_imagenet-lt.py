_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='FullTuning')]))
optim_wrapper = dict(optimizer=dict(lr=0.001))
