_base_ = 'clip-vit-b16_lift.py'

model = dict(
    backbone=dict(backbone=dict(arch='ViT-L-14')),
    head=dict(in_channels=1024),
)
