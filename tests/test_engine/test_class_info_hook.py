"""Class names and counts find everybody who needs them."""

import json

import pytest
import torch
from mmengine.dataset import RepeatDataset
from mmpretrain.registry import DATASETS
from test_tuners.tiny_models import (
    NAMES,
    classifier,
    clip_file,
    dataset,
    image_folder,
    loader,
    model_config,
    run_config,
    runner,
)

from lift_mm.engine.class_info_hook import ClassInfoHook, class_info
from lift_mm.models.inits import semantic as semantic_init

COUNTS = [5, 3, 2]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return clip_file(tmp_path_factory.mktemp('clip'))


def metric(**kwargs):
    return dict(type='lift_mm.LongTailMetric', **kwargs)


def evaluation(root, loop, **kwargs):
    return {
        f'{loop}_dataloader': loader(dataset(root, train=False, **kwargs)),
        f'{loop}_evaluator': metric(),
        f'{loop}_cfg': dict(),
    }


def build(tmp_path, root, model=None, **kwargs):
    config = run_config(tmp_path / 'run', model or model_config(), root)
    for key, value in kwargs.items():
        config[key] = value
        if value is None:
            del config[key]
    return runner(config)


NO_TRAINING = dict(
    train_cfg=None,
    train_dataloader=None,
    optim_wrapper=None,
    param_scheduler=None,
)


def started(run):
    """Do what a run does before its first hook, and call that hook."""
    for loop in ('train', 'val', 'test'):
        if getattr(run, f'_{loop}_loop') is not None:
            getattr(run, f'{loop}_loop')  # builds the loop
    run.call_hook('before_run')
    return run


def answers(run, loop='val'):
    (found,) = getattr(run, f'{loop}_evaluator').metrics
    return found


def prior(run):
    counts = run.model.head.loss_module.log_prior.exp() * sum(COUNTS)
    return counts.round().tolist()


def test_everybody_is_told(tmp_path, root):
    run = started(build(tmp_path, root, **evaluation(root, 'val')))
    assert run.model.head.class_names == NAMES
    assert prior(run) == COUNTS
    assert list(answers(run).class_counts) == COUNTS
    assert answers(run).class_names == NAMES
    told, other = classifier(names=NAMES), classifier(names=NAMES[::-1])
    assert classes_of(run.model) == classes_of(told) != classes_of(other)


def classes_of(model):
    return json.loads(bytes(model.fingerprint.tolist()))['classes']


def test_stock_dataset_is_counted(tmp_path, root):
    stock = dict(dataset(root), type='CustomDataset', with_label=True)
    del stock['split'], stock['test_mode']
    run = build(tmp_path, root, train_dataloader=loader(stock))
    started(run)
    assert run.model.head.class_names == NAMES
    assert prior(run) == COUNTS


def test_info_through_wrappers(root):
    whole = DATASETS.build(dataset(root))
    stock = dict(dataset(root), type='CustomDataset')
    del stock['split'], stock['test_mode']
    stock = DATASETS.build(stock)
    for data in (whole, stock):
        names, counts = class_info(RepeatDataset(data, times=3))
        assert tuple(names) == NAMES and counts == COUNTS
    assert class_info(torch.utils.data.TensorDataset()) == (None, None)


@pytest.mark.parametrize(
    'classes, difference',
    [
        (('fox', 'emu', 'yak'), "label 1 is 'owl' and 'emu'"),
        (('fox', 'yak', 'owl'), "label 1 is 'owl' and 'yak'"),
        (('fox', 'owl', 'yak', 'zebu'), '3 classes and the other 4'),
    ],
)
@pytest.mark.parametrize('loop', ['val', 'test'])
def test_other_names_in_the_test_set(
    tmp_path, root, loop, classes, difference
):
    stock = dict(
        type='CustomDataset',
        data_root=str(root),
        metainfo=dict(classes=classes),
        with_label=False,
        pipeline=[],
        test_mode=True,
    )
    settings = evaluation(root, loop)
    settings[f'{loop}_dataloader']['dataset'] = stock
    with pytest.raises(ValueError, match=difference) as refusal:
        started(build(tmp_path, root, **settings))
    assert 'dataset key `classes`' in str(refusal.value)


@pytest.mark.parametrize('kind', ['lift_mm.CosineHead', 'LinearClsHead'])
def test_head_of_another_size(tmp_path, root, kind):
    model = model_config(num_classes=4)
    model['head'] = dict(type=kind, num_classes=4, in_channels=32)
    run = build(tmp_path, root, model)
    with pytest.raises(ValueError, match='num_classes=4.* 3 class names'):
        started(run)


def test_recomputed_activations(tmp_path, root):
    run = build(tmp_path, root, activation_checkpointing=['backbone.layers'])
    with pytest.raises(ValueError, match='activation_checkpointing'):
        started(run)


# Testing


def test_counts_of_the_training_set_in_the_config(tmp_path, root):
    run = build(tmp_path, root, **evaluation(root, 'test'))
    scores = run.test()
    assert list(answers(run, 'test').class_counts) == COUNTS
    assert 'lt/acc_few' in scores and 'lt/acc_many' not in scores


def without_training_set(tmp_path, root, **kwargs):
    settings = {**NO_TRAINING, **kwargs, **evaluation(root, 'test')}
    return build(tmp_path, root, **settings)


def test_counts_of_the_checkpoint(tmp_path, root):
    """They go before those of a test set, which are never taken."""
    path = str(tmp_path / 'tuned.pth')
    model = classifier(names=NAMES)
    meta = dict(dataset_meta=dict(classes=NAMES, class_counts=[500, 30, 2]))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    run = without_training_set(tmp_path, root, load_from=path)
    scores = run.test()
    assert list(answers(run, 'test').class_counts) == [500, 30, 2]
    assert {'lt/acc_many', 'lt/acc_medium', 'lt/acc_few'} <= scores.keys()


def test_counts_are_unknown(tmp_path, root):
    run = without_training_set(tmp_path, root)
    with pytest.raises(ValueError, match='`train_dataloader` in the config'):
        run.test()


def test_training_set_cannot_be_read(tmp_path, root):
    gone = loader(dataset(tmp_path / 'gone'))
    run = build(
        tmp_path,
        root,
        train_dataloader=gone,
        **evaluation(root, 'test'),
    )
    with pytest.raises(ValueError, match='cannot be read .*gone'):
        run.test()


# The start of the head


@pytest.fixture
def asked(monkeypatch):
    """Names for which text features were wanted; the rows are the unit's."""
    asked = []

    def features(names, *args, **kwargs):
        asked.append(tuple(names))
        return torch.eye(3, 8), torch.eye(32, 8)

    monkeypatch.setattr(semantic_init, 'class_embeddings', features)
    return asked


def semantic(clip):
    return model_config(clip, init=dict(type='SemanticInit'))


def rows_started(model):
    return torch.equal(model.head.fc.weight, torch.eye(3, 32))


def test_new_run_starts_from_the_names(tmp_path, root, clip, asked):
    run = started(build(tmp_path, root, semantic(clip)))
    run._init_model_weights()
    assert asked == [NAMES]
    assert rows_started(run.model)


@pytest.mark.parametrize('key', ['load_from', 'resume'])
def test_no_text_when_a_checkpoint_will_come(tmp_path, root, clip, asked, key):
    path = tmp_path / 'run' / 'epoch_1.pth'
    path.parent.mkdir()
    (path.parent / 'last_checkpoint').write_text(str(path))
    value = str(path) if key == 'load_from' else True
    run = started(build(tmp_path, root, semantic(clip), **{key: value}))
    run._init_model_weights()
    assert asked == []


def test_resuming_without_a_checkpoint_is_a_new_run(
    tmp_path, root, clip, asked
):
    run = started(build(tmp_path, root, semantic(clip), resume=True))
    run._init_model_weights()
    assert asked == [NAMES]


def hook_of(run):
    (found,) = [h for h in run.hooks if isinstance(h, ClassInfoHook)]
    return found


@pytest.mark.parametrize('init', [None, dict(type='SemanticInit')])
def test_head_without_its_bias(tmp_path, root, clip, asked, init):
    """Rows of a cosine head are no rows of a linear one."""
    path = str(tmp_path / 'cosine.pth')
    state = classifier(clip).state_dict()
    del state['fingerprint']  # which would refuse another kind of head
    torch.save(dict(state_dict=state), path)
    config = model_config(clip, init=init)
    config['head']['type'] = 'lift_mm.LinearHead'
    run = started(build(tmp_path, root, config, load_from=path))
    run._init_model_weights()
    drawn = run.model.head.fc.weight.clone()
    run.load_or_resume()
    hook_of(run).before_train(run)
    expected = drawn if init is None else torch.eye(3, 32)
    assert torch.equal(run.model.head.fc.weight, expected)
    assert not run.model.head.fc.bias.any()


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize(
    'keys, classes, starts',
    [
        (['backbone.pos_embed', 'head.fc.weight'], 3, False),
        (['backbone.pos_embed', 'head.fc.weight'], 1000, True),
        (['backbone.pos_embed'], 3, True),
        (['backbone.forehead.weight', 'backbone.head.bias'], 3, True),
    ],
)
def test_checkpoint_without_head(
    tmp_path, root, clip, asked, prefix, keys, classes, starts
):
    config = semantic(clip)
    run = started(build(tmp_path, root, config, load_from='base.pth'))
    run._init_model_weights()
    state = {prefix + key: torch.ones(classes, 32) for key in keys}
    run.call_hook('after_load_checkpoint', checkpoint=dict(state_dict=state))
    assert (prefix + 'head.fc.weight' in state) is not starts
    assert asked == []  # the model is filled only now
    for _ in range(2):
        hook_of(run).before_train(run)
    assert asked == [NAMES] * starts
    assert rows_started(run.model) is starts


def test_test_without_checkpoint_is_zero_shot(tmp_path, root, clip, asked):
    run = build(tmp_path, root, semantic(clip), **evaluation(root, 'test'))
    run.test()
    assert asked == [NAMES]
    assert rows_started(run.model)


def test_hook_comes_first():
    """EMA copies the model in ``before_run`` with the same priority or
    later ones; its copy must know the classes."""
    from mmengine.hooks import EMAHook
    from mmengine.runner import get_priority

    assert get_priority(ClassInfoHook.priority) < get_priority(
        EMAHook.priority
    )
