_base_ = 'rn101_cifar100-lt-ir100.py'

train_dataloader = dict(dataset=dict(imbalance_ratio=50))
