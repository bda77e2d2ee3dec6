# iNaturalist 2018 as LIFT trains on it, for ViT-L/14@336px
_base_ = 'imagenet-lt_clip_336.py'

data_root = 'data/inaturalist2018'
data_preprocessor = dict(num_classes=8142)

train_dataloader = dict(
    dataset=dict(
        type='lift_mm.INaturalist2018',
        data_root=data_root,
        ann_file='iNaturalist18_train.txt',
    )
)
# There is no third list; LIFT tests the last epoch and chooses nothing by it.
val_dataloader = dict(
    dataset=dict(
        type='lift_mm.INaturalist2018',
        data_root=data_root,
        ann_file='iNaturalist18_val.txt',
    )
)
test_dataloader = val_dataloader
