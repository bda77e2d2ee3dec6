_base_ = '../lift_plus/vit-b16_imagenet-lt.py'

model = dict(
    backbone=dict(tuners=[dict(type='Adapter', init='lift+', sizing='lift+')])
)
