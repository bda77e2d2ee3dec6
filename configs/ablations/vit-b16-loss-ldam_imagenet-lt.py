_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(head=dict(loss=dict(_delete_=True, type='lift_mm.LDAMLoss')))
