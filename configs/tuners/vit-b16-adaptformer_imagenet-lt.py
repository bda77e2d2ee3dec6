_base_ = '../lift/vit-b16_imagenet-lt.py'
