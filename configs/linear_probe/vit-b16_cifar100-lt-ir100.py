_base_ = '../lift/vit-b16_cifar100-lt-ir100.py'

model = dict(backbone=dict(tuners=[]))
optim_wrapper = dict(optimizer=dict(lr=0.02))
