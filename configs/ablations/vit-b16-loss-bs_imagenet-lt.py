# The same function as logit adjustment with tau=1.
_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(
    head=dict(loss=dict(_delete_=True, type='lift_mm.BalancedSoftmaxLoss'))
)
