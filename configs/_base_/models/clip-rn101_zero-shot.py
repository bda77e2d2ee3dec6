_base_ = 'clip-rn101_lift.py'

model = dict(backbone=dict(tuners=[]), head=dict(scale=100))
