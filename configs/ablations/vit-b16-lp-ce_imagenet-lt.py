# First of five steps to LIFT: only a head, random at the start.
_base_ = '../linear_probe/vit-b16_imagenet-lt.py'

model = dict(
    head=dict(init=None, loss=dict(_delete_=True, type='CrossEntropyLoss'))
)
