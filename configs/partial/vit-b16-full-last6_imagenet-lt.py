_base_ = '../full_finetune/vit-b16_imagenet-lt.py'

model = dict(backbone=dict(tuners=[dict(type='FullTuning', layers=6)]))
