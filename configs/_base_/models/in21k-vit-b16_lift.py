# LIFT on the ViT-B/16 that its authors call "ImageNet-21k". The weights are
# AugReg's, trained on ImageNet-21k and *then fine-tuned on ImageNet-1k*. The
# tag says so: without one, newer timm gives other weights by this name.
# There is no text tower, so the head starts from mean features.
model = dict(
    type='lift_mm.LongTailClassifier',
    backbone=dict(
        type='lift_mm.TunedBackbone',
        backbone=dict(
            type='TIMMBackbone',
            model_name='vit_base_patch16_224.augreg_in21k_ft_in1k',
            pretrained=True,
        ),
        # A norm of eps 1e-5 as in LIFT, where the backbone has 1e-6; set
        # eps=None if it shall be merged.
        tuners=[dict(type='AdaptFormer')],
    ),
    neck=dict(type='lift_mm.ClassToken'),
    head=dict(
        type='lift_mm.CosineHead',
        num_classes=1000,
        in_channels=768,
        scale=25,
        init=dict(type='ClassMeanInit'),
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
