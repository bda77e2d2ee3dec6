# LIFT+: half the epochs at twice the rate; all else as in LIFT.
_base_ = 'lift_sgd_10e.py'

optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=5)
