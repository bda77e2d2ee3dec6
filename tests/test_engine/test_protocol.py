"""What was scored and what chose: decisions from configs and file names."""

import pytest
from mmengine.config import Config

from lift_mm.engine.protocol import (
    describe,
    is_test_split,
    read_config,
    selectors,
    split_of,
    weights_rule,
)


def cifar(split, **kwargs):
    return dict(type='lift_mm.CIFAR100LT', split=split, **kwargs)


def listed(name, root='data/imagenet', **kwargs):
    return dict(
        type='lift_mm.ImageNetLT', data_root=root, ann_file=name, **kwargs
    )


def folder(split, root='photos', **kwargs):
    return dict(
        type='lift_mm.LongTailFolder', data_root=root, split=split, **kwargs
    )


def repeated(dataset):
    return dict(type='RepeatDataset', times=2, dataset=dataset)


def joined(*datasets):
    return dict(type='ConcatDataset', datasets=list(datasets))


VAL, TEST = listed('lt_val.txt'), listed('lt_test.txt')


@pytest.mark.parametrize(
    'val, test, same',
    [
        (cifar('test'), cifar('test'), True),
        (cifar('test'), None, True),
        (cifar('train'), cifar('test'), False),
        (cifar('train', indices=100), cifar('test'), False),
        (repeated(cifar('test')), cifar('test'), True),
        (VAL, TEST, False),
        (VAL, None, False),
        (TEST, TEST, True),
        # How images are read does not make them others.
        (
            listed('lt_test.txt', pipeline=[1], lazy_init=True),
            listed('lt_test.txt', pipeline=[2], test_mode=True),
            True,
        ),
        # The same list by another path, and by another dataset.
        (listed('imagenet/lt_test.txt', root='data'), TEST, True),
        (dict(TEST, type='LongTailList'), TEST, True),
        (listed('./lt_test.txt', root='./data/imagenet/'), TEST, True),
        (listed('lt_test.txt', root='data/places'), TEST, False),
        (dict(type='lift_mm.ImageNetLT'), TEST, False),
        # One folder may serve as both.
        (folder('val'), folder('val', test_mode=True), True),
        (folder('val'), folder('test'), False),
        (folder('val', root='./photos'), folder('val'), True),
        (folder('val', root='other'), folder('val'), False),
        # A list with several splits, and parts of one list.
        (dict(VAL, split='val'), dict(VAL, split='rest'), False),
        (dict(TEST, indices=[0, 1]), dict(TEST, indices=[2, 3]), False),
        (dict(TEST, indices=[0, 2]), dict(TEST, indices=[2, 3]), True),
        (dict(TEST, indices=9), TEST, True),
        # One part is enough.
        (joined(VAL, TEST), TEST, True),
        (joined(VAL, listed('x.txt')), TEST, False),
        (repeated(joined(VAL, repeated(TEST))), repeated(TEST), True),
        (VAL, joined(TEST, VAL), True),
    ],
)
def test_same_split(val, test, same):
    assert is_test_split(val, test) is same
    if test is not None:
        cfg = Config(dict(val=val, test=test))
        assert is_test_split(cfg.val, cfg.test) is same


@pytest.mark.parametrize(
    'dataset, text',
    [
        (cifar('test'), "CIFAR100LT, split 'test'"),
        (listed('a/lt_val.txt'), "ImageNetLT, list 'lt_val.txt'"),
        (folder('val'), "LongTailFolder, split 'val'"),
        (folder(''), "LongTailFolder of 'photos'"),
        (dict(type='CustomDataset', data_root=''), 'CustomDataset'),
        (
            joined(VAL, repeated(cifar('train'))),
            "ImageNetLT, list 'lt_val.txt' + CIFAR100LT, split 'train'",
        ),
    ],
)
def test_description(dataset, text):
    assert describe(dataset) == text


@pytest.mark.parametrize(
    'cfg',
    [
        {},
        dict(val_dataloader=None),
        dict(val_dataloader={}),
        dict(val_dataloader=dict(dataset=range(3))),
    ],
)
def test_config_without_a_split(cfg):
    assert split_of(cfg, 'val_dataloader') is None


BEST = dict(default_hooks=dict(checkpoint=dict(save_best='lt/acc')))
STOP = dict(
    custom_hooks=[
        dict(type='lift_mm.ClassInfoHook'),
        dict(type='mmengine.EarlyStoppingHook', monitor='lt/hmean'),
    ]
)


@pytest.mark.parametrize(
    'cfg, want',
    [
        ({}, {}),
        (dict(default_hooks=None, custom_hooks=None), {}),
        (dict(default_hooks=dict(checkpoint=dict(interval=1))), {}),
        (dict(default_hooks=dict(checkpoint=None, timer='a')), {}),
        (dict(custom_hooks=[object()]), {}),
        (BEST, {'lt/acc': 'default_hooks.checkpoint.save_best'}),
        (
            dict(custom_hooks=[dict(save_best=['a', 'b'])]),
            dict.fromkeys('ab', 'custom_hooks[0].save_best'),
        ),
        (
            {**BEST, **STOP},
            {
                'lt/acc': 'default_hooks.checkpoint.save_best',
                'lt/hmean': 'custom_hooks[1].monitor',
            },
        ),
    ],
)
def test_selectors(cfg, want):
    assert selectors(cfg) == want
    assert selectors(Config(cfg)) == want


def meta(epoch=None, iter=None, **cfg):
    cfg.setdefault('train_cfg', dict(by_epoch=True, max_epochs=10))
    cfg.setdefault('val_dataloader', dict(dataset=VAL))
    return dict(epoch=epoch, iter=iter, cfg=Config(cfg).pretty_text)


SPLIT = "ImageNetLT, list 'lt_val.txt'"
BY_ITER = dict(train_cfg=dict(by_epoch=False, max_iters=90))


@pytest.mark.parametrize(
    'name, meta, rule, chosen',
    [
        ('epoch_10.pth', meta(10), 'last epoch 10 of 10', None),
        ('', meta(10), 'last epoch 10 of 10', None),
        ('epoch_3.pth', meta(3), 'intermediate epoch 3 of 10', None),
        ('iter_90.pth', meta(0, 90, **BY_ITER), 'last iteration 90 of', None),
        (
            'iter_7.pth',
            meta(0, 7, **BY_ITER),
            'intermediate iteration 7',
            None,
        ),
        (
            'best_lt_acc_epoch_3.pth',
            meta(3, **BEST),
            f'best by lt/acc on {SPLIT} (epoch 3 of 10)',
            VAL,
        ),
        (
            'best_lt_acc_epoch_10-0123abcd.pth',
            meta(10, **BEST),
            f'best by lt/acc on {SPLIT} (epoch 10 of 10)',
            VAL,
        ),
        (
            'best_lt_acc_few_iter_7.pth',
            meta(0, 7, **BY_ITER, **BEST),
            f'best by lt_acc_few on {SPLIT} (iteration 7 of 90)',
            VAL,
        ),
        (
            'best_accuracy_top1_epoch_3.pth',
            dict(epoch=3),
            'best by accuracy_top1 on an unknown split (epoch 3)',
            {},
        ),
        (
            'epoch_4.pth',
            meta(4, **STOP),
            f'early stopping by lt/hmean on {SPLIT} (epoch 4 of 10)',
            VAL,
        ),
        ('epoch_10.pth', meta(10, **STOP), 'last epoch 10 of 10', None),
        ('base.pth', {}, 'a file that does not say how', None),
        ('best_model.pth', {}, 'a file that does not say how', None),
        ('x.pth', dict(epoch=9), 'epoch 9 of a training of unknown', None),
        ('x.pth', dict(epoch=9, cfg='!'), 'epoch 9 of a training', None),
    ],
)
def test_rule_of_the_weights(name, meta, rule, chosen):
    found, chosen_on = weights_rule(name, meta)
    assert found.startswith(rule)
    assert chosen_on == chosen


def test_dumped_config_is_read():
    cfg = dict(
        a=dict(x=[1, (2.5,), None, True], y={3: -1, 'b c': 'q"\'\n'}),
        custom_imports=dict(imports=['lift_mm']),
        many=list(range(40)),
    )
    assert read_config(Config(cfg).pretty_text) == cfg


def test_recipe_is_read():
    from miniature import REPO

    cfg = Config.fromfile(REPO / 'configs/lift/vit-b16_imagenet-lt.py')
    found = read_config(cfg.pretty_text)
    assert found == cfg.to_dict()
    assert describe(split_of(found, 'val_dataloader')) == (
        "ImageNetLT, list 'ImageNet_LT_val.txt'"
    )


@pytest.mark.parametrize(
    'text, want',
    [
        ('a = 1\nb = open("gone", "w")\nc = dict(x=inf)\nd = 2', 'ad'),
        ('import os\nos.x = 1\na = [os.system("true")]\nd = {"k": 1}', 'd'),
        ('a = dict(**{"x": 1})\nb = dict([1])\nd = a', 'a'),
        ('a = (' * 9, ''),
        ('a = ' + '-' * 5000 + '1', ''),
        ('a = ' + '[' * 90 + ']' * 90 + '\x00', ''),
        (None, ''),
        (b'a = 1', ''),
    ],
)
def test_programs_are_not_run(tmp_path, monkeypatch, text, want):
    monkeypatch.chdir(tmp_path)
    assert ''.join(read_config(text)) == want
    assert not list(tmp_path.iterdir())
