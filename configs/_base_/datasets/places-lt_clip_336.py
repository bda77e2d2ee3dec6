# Places-LT as LIFT trains on it, for ViT-L/14@336px
_base_ = 'imagenet-lt_clip_336.py'

data_root = 'data/places'
data_preprocessor = dict(num_classes=365)

train_dataloader = dict(
    dataset=dict(
        type='lift_mm.PlacesLT',
        data_root=data_root,
        ann_file='Places_LT_train.txt',
    )
)
val_dataloader = dict(
    dataset=dict(
        type='lift_mm.PlacesLT',
        data_root=data_root,
        ann_file='Places_LT_val.txt',
    )
)
test_dataloader = dict(
    dataset=dict(
        type='lift_mm.PlacesLT',
        data_root=data_root,
        ann_file='Places_LT_test.txt',
    )
)
