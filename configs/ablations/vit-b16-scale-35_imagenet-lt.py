_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(head=dict(scale=35))
