"""A merged model scores what the model with its tuners does."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model.wrappers import MMFullyShardedDataParallel
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

from lift_mm import apis
from lift_mm.engine import MergeHook, merge_hook
from lift_mm.models import MeanLogitTTA
from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters
from lift_mm.tuners.merge import remaining

COUNTS = [5, 3, 2]
TTA_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=20, backend='pillow'),
    dict(type='lift_mm.MultiCrop', crop_size=16),
]


class Scores(Hook):
    """Keep what a test predicts."""

    def __init__(self):
        self.scores = []

    def after_test_iter(self, runner, batch_idx, data_batch, outputs):
        self.scores += [sample.pred_score for sample in outputs]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return clip_file(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def said(monkeypatch):
    """Collect what the log says about merging."""
    found = []
    for module in (apis, merge_hook):
        monkeypatch.setattr(
            module, 'print_log', lambda text, **kwargs: found.append(text)
        )
    return found


def checkpoint(folder, clip, name='tuned.pth', seed=0, **kwargs):
    """Write what a training run leaves, moved by noise."""
    torch.manual_seed(seed)
    model = classifier(clip, NAMES, **kwargs)
    path = str(folder / name)
    meta = dict(dataset_meta=dict(classes=NAMES, class_counts=COUNTS))
    torch.save(dict(meta=meta, state_dict=apis.tuned_state(model)), path)
    return path


def mild(*args, **kwargs):
    """Give a config whose scores are neither 0 nor 1."""
    config = model_config(*args, **kwargs)
    config['head']['scale'] = 2.0
    return config


def scored(folder, root, model, *hooks, tta=False, **kwargs):
    """Test a config; give the run, the metrics and the scores."""
    data = dataset(root, train=False)
    if tta:
        data['pipeline'] = TTA_PIPELINE
        model = dict(type='lift_mm.MeanLogitTTA', module=model)
    config = run_config(
        folder / 'run',
        model,
        root,
        test_dataloader=loader(data),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_cfg=dict(),
    )
    config['custom_hooks'] += hooks
    scores = Scores()
    run = runner(dict(config, **kwargs), scores)
    metrics = run.test()
    return run, metrics, torch.stack(scores.scores)


ADAPTFORMER = dict(type='AdaptFormer', hidden_dims=2)
CASES = {
    'all': ([ADAPTFORMER, dict(type='LoRA', rank=2), dict(type='BitFit')], 0),
    'some': ([dict(type='VPT', length=2), dict(type='SSF')], 1),
    'none': ([dict(type='Adapter', hidden_dims=2)], 2),
    'probe': ([], 0),
}


@pytest.mark.parametrize('tta', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_scores_stay(case, tta, clip, root, tmp_path, said):
    tuners, left = CASES[case]
    path = checkpoint(tmp_path, clip, tuners=tuners)
    config = mild(clip, tuners=tuners)
    common = dict(tta=tta, load_from=path)
    _, metrics, scores = scored(tmp_path, root, config, **common)
    hook = dict(type='lift_mm.MergeHook')
    run, again, merged = scored(tmp_path, root, config, hook, **common)
    torch.testing.assert_close(merged, scores, atol=1e-6, rtol=1e-5)
    assert again == pytest.approx(metrics, rel=1e-4)
    assert scores.std(dim=0).min() > 1e-3  # no two images are the same
    assert isinstance(run.model, MeanLogitTTA) == tta
    model = run.model.module if tta else run.model
    names = {type(m).__name__ for _, m in remaining(model)}
    assert len(names) == (left > 0)
    if left:
        assert said and all(line.startswith('Not merged: ') for line in said)
    else:
        assert said == ['Merged: no tuner stays.']


@pytest.mark.parametrize('tta', [False, True])
def test_a_model_as_it_starts(tta, clip, root, tmp_path, said, monkeypatch):
    """The head is started from class names before it is copied."""
    monkeypatch.setenv('LIFT_MM_CACHE', str(tmp_path / 'cache'))
    config = mild(clip, init=dict(type='SemanticInit'))
    found = [
        scored(tmp_path, root, config, *hooks, tta=tta)[1:]
        for hooks in ([], [dict(type='lift_mm.MergeHook')])
    ]
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-6, rtol=1e-5)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    random = scored(tmp_path, root, mild(clip), tta=tta)[2]
    assert (random - found[0][1]).abs().max() > 1e-3
    assert said == ['Merged: no tuner stays.']


def test_averaged_weights(clip, root, tmp_path, said):
    """EMA puts its weights into the model after it is loaded."""
    path = checkpoint(tmp_path, clip)
    hooks = [dict(type='lift_mm.MergeHook'), dict(type='EMAHook')]
    config = mild(clip)
    scores = scored(tmp_path, root, config, hooks[1], load_from=path)[2]
    run, _, merged = scored(tmp_path, root, config, *hooks, load_from=path)
    assert isinstance(run.hooks[-1], MergeHook)
    torch.testing.assert_close(merged, scores, atol=1e-6, rtol=1e-5)
    assert not list(remaining(run.model))


def test_nothing_to_merge(said):
    model = torch.nn.Linear(2, 2)
    run = SimpleNamespace(model=model)
    MergeHook().before_test_epoch(run)
    assert run.model is model
    assert said == ['Nothing to merge: Linear has no tuners.']


def test_sharded_weights_are_refused():
    model = MMFullyShardedDataParallel.__new__(MMFullyShardedDataParallel)
    with pytest.raises(ValueError, match='model_wrapper_cfg.type'):
        MergeHook().before_test_epoch(SimpleNamespace(model=model))


@pytest.mark.parametrize('kind', ['bfloat16', 'float16'])
def test_half_precision_base(kind):
    """It merges in fp32, and scores as its tuners do to half's digits."""
    config = model_config()
    config['backbone']['frozen_dtype'] = kind
    model = MODELS.build(config).eval()
    images = torch.randn(2, 3, 16, 16, generator=torch.manual_seed(0))
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))
        expected = model(images)
        run = SimpleNamespace(model=model)
        MergeHook().before_test_epoch(run)
        merged = run.model(images)
    assert not list(remaining(run.model))
    kinds = {p.dtype for p in run.model.parameters()}
    assert kinds == {torch.float32}
    assert (merged - expected).norm() < 0.02 * expected.norm()
