_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(head=dict(init=dict(_delete_=True, type='LinearProbeInit')))
