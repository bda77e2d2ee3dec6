"""What the log of a run says about its protocol."""

import logging
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from mmengine.hooks import CheckpointHook
from test_tuners.tiny_models import (
    dataset,
    image_folder,
    loader,
    model_config,
    run_config,
    runner,
)

from lift_mm.safe_load import load_file

STATED = 'Scored: {}, 10 images, {}. Weights: {}.'  # split, ensembling, rule
RULES = {
    'lt/acc': 'greater',
    'lt/acc_mean': 'greater',
    'lt/acc_many': 'greater',
    'lt/acc_medium': 'greater',
    'lt/acc_few': 'greater',
    'lt/acc_worst': 'greater',
    'lt/hmean': 'greater',
    'lt/gmean': 'greater',
    'lt/f1_macro': 'greater',
    'lt/ece': 'less',
}
NO_TTA = 'no test-time ensembling'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    for name in ('images', 'others'):
        image_folder(folder / name)
    return folder / 'images'


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'lift_mm.engine.protocol_hook.print_log',
        lambda text, logger, level: lines.append((level, text)),
    )
    return lines


def build(work, root, val=None, test=None, counts=None, **kwargs):
    config = run_config(work, model_config(), root)
    config['custom_hooks'].append(dict(type='lift_mm.ProtocolHook'))
    metric = dict(type='lift_mm.LongTailMetric', class_counts=counts)
    for loop, data in (('val', val), ('test', test)):
        if data is not None:
            config[f'{loop}_dataloader'] = loader(data)
            config[f'{loop}_evaluator'] = metric
            config[f'{loop}_cfg'] = {}
    checkpoint = dict(type='CheckpointHook', interval=1)
    checkpoint.update(kwargs.pop('checkpoint', {}))
    config['default_hooks']['checkpoint'] = checkpoint
    return runner(dict(config, **kwargs))


def images(root, **kwargs):
    return dataset(root, train=False, **kwargs)


def others(root, **kwargs):
    return images(root.parent / 'others', **kwargs)


def name(data):
    return f'LongTailFolder of {data["data_root"]!r}'


def test_nothing_is_chosen(tmp_path, root, log):
    val, test = others(root), images(root)
    build(tmp_path / 'run', root, val, test).train()
    assert log == [
        (
            logging.INFO,
            f'Validation scores {name(val)}; nothing is chosen by it, the '
            'last epoch counts.',
        )
    ]


def test_nothing_is_chosen_by_the_test_split(tmp_path, root, log):
    run = build(tmp_path / 'run', root, images(root), images(root))
    run.train()
    assert [level for level, _ in log] == [logging.INFO]
    assert 'the test split; nothing is chosen' in log[0][1]
    # In the same process, without a checkpoint.
    run.test()
    rule = 'as trained in this run, epoch 2 of 2'
    text = STATED.format(name(images(root)), NO_TTA, rule)
    assert log[1:] == [(logging.INFO, text)]


@pytest.mark.parametrize('wrap', [False, True])
def test_best_by_other_images_and_by_the_test(tmp_path, root, log, wrap):
    """Every key of the metric can choose, whatever its file is called."""
    val = others(root)
    if wrap:
        val = dict(type='RepeatDataset', times=1, dataset=val)
    work = tmp_path / 'run'
    run = build(
        work,
        root,
        val,
        images(root),
        counts=[500, 50, 5],
        checkpoint=dict(save_best=list(RULES), rule=list(RULES.values())),
    )
    run.train()
    keys = ', '.join(RULES)
    text = f'Validation on {name(others(root))} chooses by {keys}.'
    assert log == [(logging.INFO, text)]
    files = {
        key: list(work.glob(f'best_{key.replace("/", "_")}_epoch_?.pth'))
        for key in RULES
    }
    assert {key: len(found) for key, found in files.items()} == dict.fromkeys(
        RULES, 1
    )
    for scored, warns in ((images(root), 0), (others(root), 1)):
        log.clear()
        (path,) = files['lt/acc_few']
        epoch = load_file(path)['meta']['epoch']
        run = build(
            tmp_path / f'test{warns}', root, None, scored, load_from=str(path)
        )
        run.test()
        assert [level for level, _ in log] == (
            [logging.WARNING] * warns + [logging.INFO]
        )
        origin = f'{path.name} of {load_experiment(path)}'
        rule = (
            f'best by lt/acc_few on {name(others(root))} '
            f'(epoch {epoch} of 2); {origin}'
        )
        assert log[-1][1] == STATED.format(name(scored), NO_TTA, rule)
        if warns:
            assert 'chosen on the split that is scored now' in log[0][1]


def load_experiment(path: Path) -> str:
    return load_file(path)['meta']['experiment_name']


@pytest.mark.parametrize('how', ['save_best', 'early stopping'])
def test_choosing_by_the_test_split_warns(tmp_path, root, log, how):
    kwargs = dict(checkpoint=dict(save_best=['lt/acc']))
    key = 'default_hooks.checkpoint.save_best'
    if how == 'early stopping':
        stop = dict(type='EarlyStoppingHook', monitor='lt/acc', patience=1)
        hooks = [
            dict(type='lift_mm.ClassInfoHook'),
            dict(type='lift_mm.ProtocolHook'),
            dict(stop, min_delta=1000.0),
        ]
        kwargs, key = dict(custom_hooks=hooks), 'custom_hooks[2].monitor'
        train = dict(type='lift_mm.ResumableEpochLoop', max_epochs=3)
        kwargs['train_cfg'] = train
    val = images(root, lazy_init=False)
    work = tmp_path / 'run'
    build(work, root, val, images(root), **kwargs).train()
    ((level, text),) = log
    assert level == logging.WARNING
    assert text.startswith(f'Validation chooses by lt/acc on {name(val)}')
    assert text.count('. ') == 0 and '`val_dataloader.dataset`' in text
    assert f'(drop `{key}`).' in text
    log.clear()
    path = Path((work / 'last_checkpoint').read_text())
    if how == 'save_best':
        (path,) = work.glob('best_*')
    run = build(tmp_path / 'test', root, None, val, load_from=str(path))
    run.test()
    assert [level for level, _ in log] == [logging.WARNING, logging.INFO]


def test_several_metrics_of_one_key(tmp_path, root, log):
    best = dict(save_best=['lt/acc', 'lt/acc_mean'])
    val = images(root)
    build(tmp_path / 'run', root, val, val, checkpoint=best).train()
    assert 'chooses by lt/acc, lt/acc_mean on' in log[0][1]
    assert log[0][1].count('save_best') == 1


@pytest.mark.parametrize('epoch, rule', [(1, 'intermediate'), (2, 'last')])
def test_checkpoints_of_epochs(tmp_path, root, log, epoch, rule):
    build(tmp_path / 'run', root).train()
    assert log == []  # there is no validation
    path = tmp_path / 'run' / f'epoch_{epoch}.pth'
    test = images(root)
    build(tmp_path / 'a', root, None, test, load_from=str(path)).test()
    rule = f'{rule} epoch {epoch} of 2; {path.name} of {load_experiment(path)}'
    text = STATED.format(name(test), NO_TTA, rule)
    assert log == [(logging.INFO, text)]
    # A program that loads weights by hand does not say from which file.
    log.clear()
    run = build(tmp_path / 'b', root, None, test, load_from=str(path))
    run.load_or_resume()
    run.load_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))
    run.test()
    assert 'Weights: intermediate epoch 1 of 2; run-' in log[0][1]


def test_zero_shot_with_ensembling(tmp_path, root, log):
    test = images(root)
    test['pipeline'] = [
        *test['pipeline'][:-1],
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)],
                [dict(type='PackInputs')],
            ],
        ),
    ]
    model = dict(type='lift_mm.MeanLogitTTA', module=model_config())
    build(tmp_path / 'run', root, None, test, model=model).test()
    ((_, text),) = log
    assert f'{name(test)}, 10 images, test-time ensembling by Mean' in text
    assert 'Weights: no checkpoint, the model as it starts' in text


def test_datasets_built_by_hand(tmp_path, root, log):
    from mmengine.dataset import DefaultSampler, default_collate
    from mmpretrain.registry import DATASETS
    from torch.utils.data import DataLoader

    run = build(tmp_path / 'run', root, images(root), images(root))
    data = DATASETS.build(images(root))
    by_hand = DataLoader(
        data,
        batch_size=2,
        sampler=DefaultSampler(data, shuffle=False),
        collate_fn=default_collate,
    )
    run.cfg.test_dataloader = run.cfg.val_dataloader = None
    run._test_dataloader = run._val_dataloader = by_hand
    run.train()
    run.test()
    assert 'Validation scores LongTailFolder; nothing is chosen' in log[0][1]
    assert 'Scored: LongTailFolder, 10 images' in log[1][1]


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(checkpoint=dict(save_best='lt/acc_many')),
        dict(checkpoint=dict(save_best=['lt/acc', 'lt/acc_many'])),
        dict(
            custom_hooks=[
                dict(type='lift_mm.ClassInfoHook'),
                dict(type='lift_mm.ProtocolHook'),
                dict(type='EarlyStoppingHook', monitor='lt/acc_many'),
            ]
        ),
    ],
)
def test_empty_group_cannot_choose(tmp_path, root, kwargs):
    run = build(tmp_path / 'run', root, others(root), images(root), **kwargs)
    with pytest.raises(ValueError, match="no 'lt/acc_many' to choose by.*key"):
        run.train()
    assert run.iter == 0
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_group_without_validation_images_cannot_choose(tmp_path, root):
    """Nine images: none of the last class, which is the only few-shot one."""
    run = build(
        tmp_path / 'run',
        root,
        others(root, indices=8),
        counts=[500, 50, 5],
        checkpoint=dict(save_best='lt/acc_few'),
    )
    with pytest.raises(ValueError, match="no 'lt/acc_few' .* lt/acc_medium"):
        run.train()
    assert run.iter == 0


def test_key_of_another_metric_is_refused_after_validation(tmp_path, root):
    best = dict(save_best='accuracy/top3')
    run = build(tmp_path / 'run', root, others(root), checkpoint=best)
    with pytest.raises(
        ValueError, match="'accuracy/top3'.*.checkpoint.save_b"
    ):
        run.train()
    # `auto` takes whatever comes first.
    best = dict(save_best='auto')
    build(tmp_path / 'auto', root, others(root), checkpoint=best).train()
    assert list((tmp_path / 'auto').glob('best_lt_acc_epoch_?.pth'))


def test_rules_that_mmengine_knows_and_asks_for():
    """As the docstring of the metric tells."""
    for key, rule in RULES.items():
        if 'acc' in key:
            assert CheckpointHook(save_best=key).rules == [rule]
        else:
            with pytest.raises(ValueError, match=f'{key}.*specific rule must'):
                CheckpointHook(save_best=key)
            assert CheckpointHook(save_best=key, rule=rule).rules == [rule]


def test_other_ranks_are_silent(tmp_path, root, log, monkeypatch):
    monkeypatch.setattr(
        'mmengine.dist.utils.is_main_process', lambda group=None: False
    )
    from lift_mm.engine.protocol_hook import _log

    _log('words')
    assert log == []


def test_recipes_have_the_hook():
    from miniature import REPO
    from mmengine.config import Config

    for path in (REPO / 'configs').glob('[!_]*/*.py'):
        hooks = Config.fromfile(path).custom_hooks
        assert dict(type='lift_mm.ProtocolHook') in hooks, path
        assert all(isinstance(hook, ConfigDict) for hook in hooks)
