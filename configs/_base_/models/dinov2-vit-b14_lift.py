# LIFT's recipe on DINOv2, which is in none of its tables: any backbone of
# mmpretrain goes here, with the weights that mmpretrain publishes for it.
model = dict(
    type='lift_mm.LongTailClassifier',
    backbone=dict(
        type='lift_mm.TunedBackbone',
        backbone=dict(
            type='VisionTransformer',
            arch='base',
            img_size=224,  # positions of 518 pixels are interpolated
            patch_size=14,
            layer_scale_init_value=1e-5,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://download.openmmlab.com/mmpretrain/v1.0/'
                'dinov2/vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth',
                prefix='backbone',
            ),
        ),
        # The norm has the eps of the backbone's, so that it can be merged.
        tuners=[dict(type='AdaptFormer', eps=None)],
    ),
    head=dict(
        type='lift_mm.CosineHead',
        num_classes=1000,
        in_channels=768,
        scale=25,
        init=dict(type='ClassMeanInit'),
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
