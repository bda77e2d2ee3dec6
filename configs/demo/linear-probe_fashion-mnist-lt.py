_base_ = 'lift_fashion-mnist-lt.py'

model = dict(backbone=dict(tuners=[]))
