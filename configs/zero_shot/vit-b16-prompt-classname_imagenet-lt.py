_base_ = 'vit-b16_imagenet-lt.py'

model = dict(head=dict(init=dict(templates='classname')))
