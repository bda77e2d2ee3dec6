_base_ = '../lift/vit-b16_imagenet-lt.py'

train_cfg = dict(max_epochs=5)
