# Second step: AdaptFormer.
_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(
    head=dict(init=None, loss=dict(_delete_=True, type='CrossEntropyLoss'))
)
