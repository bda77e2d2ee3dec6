# LIFT on CLIP: a frozen tower with AdaptFormer of automatic size, a cosine
# head that starts from the class names, the logit-adjusted loss.
model = dict(
    type='lift_mm.LongTailClassifier',
    backbone=dict(
        type='lift_mm.TunedBackbone',
        backbone=dict(
            type='lift_mm.CLIPViT', arch='ViT-B-16', pretrained='openai'
        ),
        tuners=[dict(type='AdaptFormer')],
    ),
    head=dict(
        type='lift_mm.CosineHead',
        num_classes=1000,
        in_channels=768,
        scale=25,
        init=dict(type='SemanticInit', template='a photo of a {}.'),
        loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),
    ),
)
