# The rate times the epochs stays what it is.
_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=0.01))
