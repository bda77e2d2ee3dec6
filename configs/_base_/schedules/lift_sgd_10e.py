# LIFT: SGD with weight decay on everything learned, cosine by epoch.
optim_wrapper = dict(
    type='AmpOptimWrapper',  # fp32 with a warning where there is no GPU
    constructor='lift_mm.TunedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
)
# Its end is that of the training: `train_cfg.max_epochs` alone counts.
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True)

train_cfg = dict(
    type='lift_mm.ResumableEpochLoop', max_epochs=10, val_interval=1
)
val_cfg = dict()
test_cfg = dict()

# `--auto-scale-lr` scales the rate where the total batch is not 128.
auto_scale_lr = dict(base_batch_size=128)
