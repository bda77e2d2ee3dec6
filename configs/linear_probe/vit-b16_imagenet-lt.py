_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[]))
optim_wrapper = dict(optimizer=dict(lr=0.02))
