"""Checkpoints with only what was learned, through every loader."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint, save_checkpoint
from test_tuners.tiny_models import (
    FROZEN,
    LEARNED,
    NAMES,
    classifier,
    clip_file,
    dataset,
    image_folder,
    loader,
    logits,
    model_config,
    run_config,
    runner,
)

from lift_mm.engine import TunedCheckpointHook
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

ROOT = Path(__file__).parents[2]


def filtered(model, **more):
    """What a runner with the hook would save."""
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=NAMES)),
        state_dict=dict(model.state_dict()),
        **more,
    )
    hook = TunedCheckpointHook()
    hook.before_save_checkpoint(SimpleNamespace(model=model), checkpoint)
    return checkpoint


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return clip_file(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def model(base):
    return classifier(base, names=NAMES)


@pytest.fixture(scope='module')
def tuned_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('tuned') / 'tuned.pth'
    save_checkpoint(filtered(model), str(path))
    return str(path)


def load_torch(model, path):
    state = torch.load(path, weights_only=True)['state_dict']
    before = set(state)
    model.load_state_dict(state, strict=True)
    assert set(state) == before  # completed in a copy


def load_mmengine(model, path):
    load_checkpoint(model, path, map_location='cpu', strict=True)


def load_mmengine_loosely(model, path):
    load_checkpoint(model, path, map_location='cpu')


LOADERS = [load_torch, load_mmengine, load_mmengine_loosely]


def test_only_what_was_learned(model, base, tuned_file):
    state = torch.load(tuned_file, weights_only=True)['state_dict']
    assert state.keys() == learned_parameters(model).keys() | {'fingerprint'}
    learned = sum(4 * p.numel() for p in learned_parameters(model).values())
    assert os.path.getsize(tuned_file) < 1.05 * learned + 65536
    assert 4 * os.path.getsize(tuned_file) < os.path.getsize(base)


@pytest.mark.parametrize('scale', [{}, dict(scale=1024.0)])
def test_only_a_loss_scale_that_is_on(model, scale):
    optimizer = dict(state={}, param_groups=[], loss_scaler=scale)
    kept = filtered(model, optimizer=optimizer)['optimizer']
    assert ('loss_scaler' in kept) is bool(scale)
    assert 'param_groups' in kept


@pytest.mark.parametrize('load', LOADERS)
def test_round_trip(model, base, tuned_file, load):
    other = classifier(base)
    assert not torch.equal(logits(other), logits(model))
    load(other, tuned_file)
    assert torch.equal(logits(other), logits(model))
    assert torch.equal(other.fingerprint, model.fingerprint)


@pytest.mark.parametrize('load', LOADERS)
def test_same_base_under_another_path(model, base, tmp_path, load, tuned_file):
    moved = tmp_path / 'a much longer name, elsewhere.pt'
    moved.write_bytes(Path(base).read_bytes())
    other = classifier(str(moved))
    load(other, tuned_file)
    assert torch.equal(logits(other), logits(model))


def other_base(folder, base):
    return classifier(clip_file(folder, seed=1)), r'base CLIPViT.*\[\w{8}\]'


def other_width(folder, base):
    tuners = [dict(type='AdaptFormer', hidden_dims=3)]
    return classifier(base, tuners=tuners), "tuners .*'hidden_dims': 2.*: 3"


def other_layers(folder, base):
    tuners = [dict(type='AdaptFormer', hidden_dims=2, layers=1)]
    return classifier(base, tuners=tuners), r'tuners .*\[0, 1\].*\[1\]'


def no_tuners(folder, base):
    return classifier(base, tuners=[]), 'tuners .*AdaptFormer.* has none'


def other_number(folder, base):
    return classifier(base, num_classes=4), 'num_classes 3, .* has 4'


def other_order(folder, base):
    return classifier(base, names=NAMES[::-1]), 'other class names'


def other_names(folder, base):
    return classifier(base, names=('fox', 'owl', 'emu')), 'other class names'


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize(
    'build',
    [
        other_base,
        other_width,
        other_layers,
        no_tuners,
        other_number,
        other_order,
        other_names,
    ],
)
def test_refusals(tmp_path, base, tuned_file, load, build):
    other, message = build(tmp_path, base)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(ValueError, match=message) as refusal:
        load(other, tuned_file)
    text = str(refusal.value)
    assert 'nothing was loaded' in text and '\n' not in text
    assert text.count('key `') == 1
    for key, value in other.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_lacking_tensor_is_reported(model, base):
    state = filtered(model)['state_dict']
    del state['backbone.' + LEARNED]
    with pytest.raises(RuntimeError, match='Missing .*adaptformer.up.weight'):
        classifier(base).load_state_dict(state)
    result = classifier(base).load_state_dict(state, strict=False)
    assert result.missing_keys == ['backbone.' + LEARNED]


def test_plain_weights_load_as_usual(model, base):
    state = model.state_dict()
    del state['fingerprint']
    other = classifier(base)
    other.load_state_dict(state)
    assert torch.equal(logits(other), logits(model))
    # They were those of the same base: a tuned file stays small.
    saved = filtered(other)['state_dict']
    assert saved.keys() == filtered(model)['state_dict'].keys()


@pytest.mark.parametrize('fingerprint', [True, False])
def test_whole_checkpoint_brings_its_own_base(tmp_path, base, fingerprint):
    """Saved without the hook; the model that loads it has another base."""
    model = classifier(clip_file(tmp_path, seed=1))
    state = model.state_dict()
    if not fingerprint:
        del state['fingerprint']
    other = classifier(base)
    other.load_state_dict(state)
    assert torch.equal(logits(other), logits(model))
    # Nobody could build that base again from a config: it is saved, too.
    saved = filtered(other)['state_dict']
    assert saved.keys() == other.state_dict().keys()
    third = classifier(base)
    third.load_state_dict(saved)
    assert torch.equal(logits(third), logits(model))
    # Tuned tensors for the first base do not fit any more.
    small = filtered(classifier(base))['state_dict']
    with pytest.raises(ValueError, match='was made for base'):
        third.load_state_dict(small)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_other_precision(model, base, dtype):
    half = copy.deepcopy(model).to(dtype)
    assert torch.equal(half.fingerprint, model.fingerprint)
    other = classifier(base)
    other.load_state_dict(filtered(half)['state_dict'])
    expected = logits(model)
    assert (logits(other) - expected).norm() < 0.05 * expected.norm()


def test_moving_average(model, base):
    model = copy.deepcopy(model)
    average = ExponentialMovingAverage(model, momentum=0.5)
    average.update_parameters(model)
    model.set_class_info(NAMES[::-1])
    model.head.loss_module.set_class_info(NAMES, [3, 2, 1])
    with torch.no_grad():
        model.head.fc.weight.add_(1)
    average.update_parameters(model)
    ema = average.state_dict()
    checkpoint = filtered(model, ema_state_dict=dict(ema))
    learned = {'module.' + key for key in learned_parameters(model)}
    assert checkpoint['ema_state_dict'].keys() == learned | {
        'module.fingerprint',
        'steps',
    }
    other = classifier(base)
    fresh = ExponentialMovingAverage(other)
    fresh.load_state_dict(checkpoint['ema_state_dict'])
    assert torch.equal(logits(fresh.module), logits(average.module))
    assert not torch.equal(logits(average.module), logits(model))
    assert fresh.steps == 2
    with pytest.raises(ValueError, match='other class names'):
        classifier(base, names=NAMES).load_state_dict(checkpoint['state_dict'])


def test_runner_with_moving_average(tmp_path, base):
    """Saved, resumed and tested by mmengine's own hooks."""
    root = image_folder(tmp_path / 'images')
    hooks = [
        dict(type='EMAHook', momentum=0.3),
        dict(type='lift_mm.ClassInfoHook'),
        dict(type='lift_mm.TunedCheckpointHook'),
    ]
    data = loader(dataset(root, train=False))
    config = run_config(
        tmp_path / 'run',
        model_config(base),
        root,
        custom_hooks=hooks,
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=dict(type='Accuracy'),
    )
    config['train_cfg'].update(max_epochs=1)
    first = runner(config)
    first.train()
    saved = load_file(tmp_path / 'run/epoch_1.pth')
    learned = learned_parameters(first.model).keys()
    assert saved['state_dict'].keys() == learned | {'fingerprint'}
    assert saved['ema_state_dict'].keys() == {
        'steps',
        *('module.' + key for key in saved['state_dict']),
    }
    config['train_cfg'].update(max_epochs=2)
    second = runner({**config, 'resume': True})
    second.train()
    assert second.epoch == 2
    frozen = classifier(base).backbone.state_dict()[FROZEN]
    assert torch.equal(second.model.backbone.state_dict()[FROZEN], frozen)
    # What is tested and shared is the average, not the last step.
    saved = load_file(tmp_path / 'run/epoch_2.pth')
    key = 'backbone.' + LEARNED
    last = second.model.state_dict()[key]
    assert torch.equal(saved['ema_state_dict']['module.' + key], last)
    assert not torch.equal(saved['state_dict'][key], last)


SCRIPT = """
import json, sys
import numpy as np
from PIL import Image
from mmpretrain import ImageClassificationInferencer, get_model

config, checkpoint, picture = sys.argv[1:]
assert not any(name.startswith('lift_mm') for name in sys.modules)
model = get_model(config, pretrained=checkpoint)
(one,) = ImageClassificationInferencer(
    config, pretrained=checkpoint, device='cpu'
)(picture)
(two,) = ImageClassificationInferencer(model)(picture)
answer = dict(
    classes=model._dataset_meta['classes'],
    name=one['pred_class'],
    scores=[np.ravel(x['pred_scores']).tolist() for x in (one, two)],
)
with open('answer.json', 'w') as file:
    json.dump(answer, file)
"""


def test_use_without_importing_lift_mm(tmp_path, model, base, tuned_file):
    root = image_folder(tmp_path / 'images')
    picture = root / 'owl' / '0.png'
    config = Config(
        dict(
            model=model_config(base),
            test_dataloader=loader(dataset(root, train=False)),
        )
    )
    config.dump(str(tmp_path / 'config.py'))
    run = subprocess.run(
        [
            sys.executable,
            '-c',
            SCRIPT,
            tmp_path / 'config.py',
            tuned_file,
            picture,
        ],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answer = json.loads((tmp_path / 'answer.json').read_text())
    assert tuple(answer['classes']) == NAMES
    sample = runner_sample(config, str(picture))
    with torch.no_grad():
        (expected,) = model.test_step(sample)
    for scores in answer['scores']:
        assert scores == pytest.approx(expected.pred_score.tolist(), rel=1e-5)
    assert answer['name'] == NAMES[expected.pred_label.item()]


def runner_sample(config, picture):
    from mmengine.dataset import Compose, default_collate
    from mmpretrain.registry import TRANSFORMS

    pipeline = config.test_dataloader.dataset.pipeline
    compose = Compose([TRANSFORMS.build(t) for t in pipeline])
    return default_collate([compose(dict(img_path=picture))])
