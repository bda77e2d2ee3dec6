# Third step: logit adjustment. The fourth, rows from text, is LIFT, and the
# fifth `--tta`. Also the row "random" of the initialisations.
_base_ = '../lift/vit-b16_imagenet-lt.py'

model = dict(head=dict(init=None))
