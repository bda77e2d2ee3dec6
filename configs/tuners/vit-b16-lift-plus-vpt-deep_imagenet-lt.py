# 64 tokens where LIFT takes 10.
_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

model = dict(
    backbone=dict(tuners=[dict(type='VPT', init='lift+', sizing='lift+')])
)
