_base_ = '../lift/vit-b16_inaturalist2018.py'

model = dict(backbone=dict(tuners=[dict(type='FullTuning')]))
optim_wrapper = dict(optimizer=dict(lr=0.005))
