_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='SSF', sites=['mlp'])]))
