_base_ = 'clip-vit-b16_lift.py'

model = dict(backbone=dict(backbone=dict(arch='ViT-B-32')))
