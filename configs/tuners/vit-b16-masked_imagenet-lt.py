# LIFT calls it arbitrary fine-tuning. As many weights as the head has, 0.9 %;
# the best ratio of its sweep is 1 % (`ratio=0.01`).
_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='MaskedTuning')]))
