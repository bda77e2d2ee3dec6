_base_ = '../lift/vit-b16_places-lt.py'

model = dict(backbone=dict(tuners=[dict(type='FullTuning')]))
optim_wrapper = dict(optimizer=dict(lr=0.001))
