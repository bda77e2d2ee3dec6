# LIFT's arbitrary fine-tuning: one per cent of the weights of all blocks.
_base_ = 'lift_fashion-mnist-lt.py'

model = dict(backbone=dict(tuners=[dict(type='MaskedTuning', ratio=0.01)]))
