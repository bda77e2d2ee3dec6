"""Rows from training images, in runs as a user starts them."""

import copy
import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from parity_models import relative
from PIL import Image
from test_tuners.tiny_models import (
    NAMES,
    clip_file,
    dataset,
    image_folder,
    loader,
    model_config,
    run_config,
    runner,
)

from lift_mm.models import ClassMeanInit, LinearProbeInit
from lift_mm.models.inits import image_init
from lift_mm.models.inits.features import base_digest, base_only
from lift_mm.models.inits.linear_probe import linear_probe_rows
from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters

LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
SSF = dict(type='SSF', sites=['attn', 'mlp', 'norm'])
VPT = dict(type='VPT', length=2)
KINDS = ['ClassMeanInit', 'LinearProbeInit']
every_init = pytest.mark.parametrize('kind', KINDS)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return clip_file(tmp_path_factory.mktemp('clip'))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    monkeypatch.setenv('LIFT_MM_CACHE', str(folder))
    return folder


@pytest.fixture
def computed(monkeypatch):
    """The numbers of images of which features were computed."""
    numbers = []
    original = image_init.base_features

    def counted(model, images, *args):
        numbers.append(len(images))
        return original(model, images, *args)

    monkeypatch.setattr(image_init, 'base_features', counted)
    return numbers


@pytest.fixture(scope='module')
def features(root, clip):
    """The plain backbone's features, without anything of the inits."""
    config = model_config(clip)
    net = MODELS.build(config['backbone']['backbone'])
    net.eval()
    images = [
        np.array(Image.open(root / name / f'{index}.png'))[..., ::-1]
        for name, number in zip(NAMES, (5, 3, 2))
        for index in range(number)
    ]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        return net((x - 127.5) / 127.5)[0]


def expected_rows(kind, features, labels=LABELS):
    if kind == 'LinearProbeInit':
        return linear_probe_rows(features, labels)
    means = torch.stack([features[labels == c].mean(0) for c in range(3)])
    return torch.nn.functional.normalize(means, dim=1)


def config(tmp_path, root, clip, init, tuners=(), **kwargs):
    model = model_config(clip, tuners=tuners, init=init)
    return run_config(tmp_path / 'run', model, root, **kwargs)


def started(run):
    """Do what a run does until its model is initialised."""
    run.train_loop  # noqa: B018, builds the loop
    run.call_hook('before_run')
    run._init_model_weights()
    return run.model


def rows_of(*args, **kwargs):
    model = started(runner(config(*args, **kwargs)))
    return model.head.fc.weight.detach()


@every_init
@pytest.mark.parametrize(
    'tuners',
    [[], [SSF], [VPT], [dict(type='FullTuning')], [dict(type='BitFit')]],
    ids=str,
)
def test_rows_are_those_of_the_plain_backbone(
    tmp_path, root, clip, features, kind, tuners
):
    """Even where tuners have moved: they are no part of the base."""
    run = runner(config(tmp_path, root, clip, dict(type=kind), tuners))
    torch.manual_seed(0)
    learned = learned_parameters(run.model.backbone)
    with torch.no_grad():
        for parameter in learned.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = {name: value.clone() for name, value in learned.items()}
    model = started(run)
    rows = model.head.fc.weight
    assert rows.requires_grad and model.training
    assert relative(rows, expected_rows(kind, features)) < 1e-4
    for name, value in learned_parameters(model.backbone).items():
        assert torch.equal(value, before[name]), name


@every_init
@pytest.mark.parametrize('head', ['LinearHead', 'L2NormHead', 'LayerNormHead'])
def test_every_head(tmp_path, root, clip, features, kind, head):
    settings = config(tmp_path, root, clip, dict(type=kind))
    settings['model']['head']['type'] = f'lift_mm.{head}'
    rows = started(runner(settings)).head.fc.weight
    assert relative(rows, expected_rows(kind, features)) < 1e-4


@every_init
def test_second_run_reads_the_cache(
    tmp_path, root, clip, cache, computed, kind
):
    init = dict(type=kind)
    first = rows_of(tmp_path, root, clip, init)
    assert computed == [10]
    (entry,) = cache.iterdir()
    assert entry.name.startswith(f'{kind}-')
    # The tuners do not matter: they are off.
    again = rows_of(tmp_path, root, clip, init, [SSF, VPT])
    assert computed == [10] and torch.equal(first, again)
    entry.write_bytes(b'torn')
    anew = rows_of(tmp_path, root, clip, init)
    assert computed == [10] * 2 and torch.equal(first, anew)
    rows_of(tmp_path, root, clip, dict(init, cache=False))
    assert computed == [10] * 3 and list(cache.iterdir()) == [entry]


def test_what_makes_another_entry(tmp_path, root, clip, cache, computed):
    other_root = image_folder(tmp_path / 'other', counts=(5, 3, 1))
    other_clip = clip_file(tmp_path, seed=1)
    mean = dict(type='ClassMeanInit')
    cases = [
        (root, clip, mean),
        (root, clip, dict(type='LinearProbeInit')),
        (root, other_clip, mean),
        (other_root, clip, mean),
        (root, clip, dict(mean, shots=2)),
        (root, clip, dict(mean, shots=2, seed=1)),
        (root, clip, dict(mean, interpolation='bicubic')),
    ]
    for number, case in enumerate(cases, 1):
        rows_of(tmp_path, *case)
        assert len(computed) == len(list(cache.iterdir())) == number
    assert computed == [10, 10, 10, 9, 6, 6, 10]


@pytest.mark.parametrize('key', ['quick_gelu', 'preprocessor', 'heads'])
def test_equal_weights_in_other_use(clip, key):
    """Same tensors, another function: another base."""
    settings = model_config(clip)
    inner = settings['backbone']['backbone']
    inner['quick_gelu'] = False

    def digest():
        model = MODELS.build(settings)
        with base_only(model):
            return base_digest(model)

    first = digest()
    assert digest() == first
    if key == 'quick_gelu':
        inner['quick_gelu'] = True
    elif key == 'preprocessor':
        settings['data_preprocessor']['mean'] = [100.0] * 3
    else:
        arch = copy.deepcopy(inner['arch'])
        arch['vision_cfg']['head_width'] = 8
        inner['arch'] = arch
    assert digest() != first


def test_shots(tmp_path, root, clip, features):
    init = dict(type='ClassMeanInit', shots=1)
    seeds = [
        rows_of(tmp_path, root, clip, dict(init, seed=seed))
        for seed in range(4)
    ]
    units = torch.nn.functional.normalize(features, dim=1)
    for rows in seeds:
        near = (rows @ units.T).argmax(dim=1)
        assert LABELS[near].tolist() == [0, 1, 2]
        torch.testing.assert_close(rows, units[near])
    assert len({tuple(rows.flatten().tolist()) for rows in seeds}) > 1
    many = rows_of(tmp_path, root, clip, dict(init, shots=100))
    assert relative(many, expected_rows('ClassMeanInit', features)) < 1e-5


def test_chance_of_the_training_is_not_touched(tmp_path, root, clip, computed):
    """Or a run would depend on whether its rows were in the cache."""
    run = runner(config(tmp_path, root, clip, dict(type='ClassMeanInit')))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    started(run)
    assert computed == [10]
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_training_and_testing(tmp_path, root, clip, computed):
    """Rows start once; a loaded checkpoint starts nothing."""
    init = dict(type='ClassMeanInit', cache=False)
    run = runner(config(tmp_path, root, clip, init, [SSF]))
    run.train()
    assert computed == [10]
    path = str(tmp_path / 'run' / 'epoch_2.pth')
    resumed = config(tmp_path, root, clip, init, [SSF], load_from=path)
    model = runner(resumed).train()
    assert computed == [10]
    assert model.head.fc.weight.shape == (3, 32)


def evaluation(root):
    return dict(
        test_dataloader=loader(dataset(root, train=False)),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_cfg=dict(),
    )


@every_init
def test_test_without_checkpoint(tmp_path, root, clip, features, kind):
    run = runner(
        config(tmp_path, root, clip, dict(type=kind), **evaluation(root))
    )
    scores = run.test()
    rows = run.model.head.fc.weight
    assert relative(rows, expected_rows(kind, features)) < 1e-4
    assert scores['lt/acc'] > 50  # of the images that it started from


def test_test_without_training_set(tmp_path, root, clip):
    settings = config(
        tmp_path,
        root,
        clip,
        dict(type='ClassMeanInit'),
        **evaluation(root),
    )
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
    ):
        del settings[key]
    with pytest.raises(ValueError, match='keep `train_dataloader`, or test'):
        runner(settings).test()


def test_checkpoint_without_a_head(tmp_path, root, clip, features):
    """A plain backbone is loaded, and the head starts from its features."""
    model = MODELS.build(model_config(clip_file(tmp_path, 1), tuners=[]))
    state = model.state_dict()
    base = {k: v for k, v in state.items() if k.startswith('backbone.')}
    path = str(tmp_path / 'base.pth')
    torch.save(dict(state_dict=base), path)
    run = runner(
        config(
            tmp_path, root, clip, dict(type='ClassMeanInit'), load_from=path
        )
    )
    started(run)
    run.load_or_resume()
    run.call_hook('before_train')
    rows = run.model.head.fc.weight.detach()
    own = rows_of(
        tmp_path, root, clip_file(tmp_path, 1), dict(type='ClassMeanInit')
    )
    assert relative(rows, own) < 1e-5
    assert relative(rows, expected_rows('ClassMeanInit', features)) > 0.1


def test_copies_leave_the_data_out(tmp_path, root, clip):
    run = runner(config(tmp_path, root, clip, dict(type='ClassMeanInit')))
    model = started(run)
    assert model.head.init._data is not None
    for copied in (
        copy.deepcopy(model).head.init,
        pickle.loads(pickle.dumps(model.head.init)),
    ):
        assert copied._data is None and copied.shots is None


def test_class_without_images(tmp_path, root, clip, computed):
    (tmp_path / 'list.txt').write_text('fox/0.png 0\nowl/0.png 1\n')
    data = dict(
        type='CustomDataset',
        ann_file=str(tmp_path / 'list.txt'),
        data_prefix=str(root),
        pipeline=dataset(root)['pipeline'],
        metainfo=dict(classes=(*NAMES, 'zebu')),
    )
    settings = config(
        tmp_path,
        root,
        clip,
        dict(type='ClassMeanInit'),
        train_dataloader=loader(data),
    )
    head = settings['model']['head']
    head.update(num_classes=4, loss=dict(type='CrossEntropyLoss'))
    with pytest.raises(ValueError, match="no training image of 'yak', 'zebu'"):
        started(runner(settings))
    assert computed == []


def test_without_the_hook():
    model = MODELS.build(model_config(init=dict(type='ClassMeanInit')))
    with pytest.raises(ValueError, match="dict.type='lift_mm.ClassInfoHook'"):
        model.init_weights()


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(in_channels=31), 'width 32 .*in_channels=31'),
        (dict(num_classes=2), 'num_classes=2'),
    ],
)
def test_head_that_does_not_fit(tmp_path, root, clip, change, words):
    settings = config(tmp_path, root, clip, dict(type='ClassMeanInit'))
    settings['model']['head'].update(change)
    with pytest.raises(ValueError, match=f'{words}.*model.head'):
        started(runner(settings))


def test_label_beyond_the_head(root):
    model = MODELS.build(
        model_config(num_classes=2, init=dict(type='ClassMeanInit'))
    )
    data = torch.utils.data.DataLoader(DATASETS.build(dataset(root)))
    model.head.init.set_data(model, data)
    with pytest.raises(ValueError, match='label 2 and the head num_classes=2'):
        model.head.init_weights()


def test_one_class_is_no_probe():
    init = LinearProbeInit()
    with pytest.raises(ValueError, match='num_classes=1'):
        init.rows(iter(()), torch.zeros(3, dtype=torch.long), (1, 4))


def test_feature_that_is_a_map(tmp_path, root):
    settings = config(tmp_path, root, None, dict(type='ClassMeanInit'))
    settings['model']['backbone']['backbone'] = dict(
        type='SwinTransformer',
        arch=dict(embed_dims=16, depths=[1, 1], num_heads=[2, 2]),
        img_size=16,
        patch_size=2,
        window_size=2,
        out_indices=(1,),
    )
    with pytest.raises(ValueError, match='GlobalAveragePooling.*model.neck'):
        started(runner(settings))
    settings['model']['neck'] = dict(type='GlobalAveragePooling')
    rows = started(runner(settings)).head.fc.weight
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    'settings, key',
    [
        (dict(shots=0), 'shots'),
        (dict(shots=2.5), 'shots'),
        (dict(shots=True), 'shots'),
        (dict(seed=-1), 'seed'),
        (dict(seed=None), 'seed'),
        (dict(img_size=(16, 16)), 'img_size'),
        (dict(interpolation='area'), 'interpolation'),
        (dict(pipeline=[], img_size=16), 'pipeline'),
    ],
    ids=str,
)
def test_wrong_settings(settings, key):
    with pytest.raises(ValueError, match=f'`head.init.{key}`'):
        ClassMeanInit(**settings)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'lift_mm\[probe\]'"):
        LinearProbeInit()
    ClassMeanInit()


@every_init
def test_two_ranks_give_the_rows_of_one(tmp_path, root, clip, features, kind):
    """Nine images, so that the ranks get different numbers of them."""
    data = dataset(root, indices=[*range(9)])
    settings = config(
        tmp_path,
        root,
        clip,
        dict(type=kind),
        [SSF],
        train_dataloader=loader(data),
        train_cfg=dict(max_epochs=1, by_epoch=True),
    )
    Config(settings).dump(tmp_path / 'config.py')
    subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc_per_node=2',
            '--rdzv_backend=c10d',
            '--rdzv_endpoint=localhost:0',
            str(REPO / 'tests' / 'dist_worker.py'),
            str(tmp_path / 'config.py'),
            str(tmp_path),
        ],
        env=dict(os.environ, PYTHONPATH=str(REPO)),
        check=True,
        capture_output=True,
        timeout=180,
    )
    first, second = (
        torch.load(tmp_path / f'rank{rank}.pt', weights_only=True)['start']
        for rank in (0, 1)
    )
    rows = first['head.fc.weight']
    assert torch.equal(rows, second['head.fc.weight'])
    expected = expected_rows(kind, features[:9], LABELS[:9])
    assert relative(rows, expected) < 1e-4
