# No published rate; that of ImageNet-LT.
_base_ = '../lift/vit-b16_cifar100-lt-ir100.py'

model = dict(backbone=dict(tuners=[dict(type='FullTuning')]))
optim_wrapper = dict(optimizer=dict(lr=0.0005))
