_base_ = 'clip-vit-l14_lift.py'

model = dict(backbone=dict(backbone=dict(arch='ViT-L-14-336')))
