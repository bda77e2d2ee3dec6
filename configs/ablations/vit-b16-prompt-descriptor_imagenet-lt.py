# Sentences that describe each class, {class name: [sentence, ...]},
# from a file of your own.
_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(
    head=dict(init=dict(descriptors='data/imagenet/descriptors.json'))
)
