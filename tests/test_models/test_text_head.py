"""The head whose rows are text features, alone and in a run."""

import copy
import pickle

import parity_data
import parity_models
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from parity_models import relative
from test_tuners import tiny_models
from test_tuners.tiny_models import NAMES, clip_file, logits

from lift_mm import apis
from lift_mm.models import LDAMLoss
from lift_mm.registry import MODELS
from lift_mm.safe_load import load_file
from lift_mm.tuners import disabled, frozen_keys, learned_parameters

ADAPTFORMER = dict(
    text=dict(
        type='lift_mm.TunedBackbone',
        backbone=dict(type='lift_mm.CLIPText'),
        tuners=[dict(type='AdaptFormer', hidden_dims=4)],
    )
)
METHODS = dict(
    adaptformer=ADAPTFORMER,
    projection=dict(tune='text_projection'),
    logit_scale=dict(tune=['logit_scale']),
    coop=dict(prompt=dict(type='CoOp')),
    coop_phrase=dict(prompt=dict(type='CoOp', init='a photo of a')),
    adapter=dict(adapter=dict(type='CLIPAdapter')),
    templates=dict(templates='ensemble', adapter=dict(type='CLIPAdapter')),
    all=dict(
        ADAPTFORMER,
        tune=['text_projection', 'logit_scale'],
        prompt=dict(type='CoOp', position='middle'),
        adapter=dict(type='CLIPAdapter', hidden_dims=2),
    ),
)
method = pytest.mark.parametrize('head', METHODS.values(), ids=METHODS)


def config(folder, head=None, seed=0, tuners=(), neck=None, names=NAMES):
    found = tiny_models.model_config(clip_file(folder, seed), tuners)
    found['neck'] = dict(type='lift_mm.CLIPProjection', **(neck or {}))
    found['head'] = dict(
        type='lift_mm.TextHead',
        num_classes=len(names),
        loss=dict(type='lift_mm.LogitAdjustedLoss'),
        **(head or {}),
    )
    return found


def classifier(folder, head=None, names=NAMES, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(config(folder, head, names=names, **kwargs))
    model.set_class_info(names)
    model.head.set_class_info(names)
    model.head.loss_module.set_class_info(names, range(1, len(names) + 1))
    return model.eval()


def learn(model, seed=1, size=0.2):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(size * noise)
    return model


def grads(model, number=4):
    """Give loss and gradients of a training step."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(number, 3, 16, 16, generator=generator)
    classes = model.head.num_classes
    samples = [DataSample().set_gt_label(i % classes) for i in range(number)]
    model.train()
    loss = model(images, samples, mode='loss')['loss']
    model.zero_grad()
    loss.backward()
    return loss.detach(), {
        k: p.grad for k, p in learned_parameters(model).items()
    }


# What it computes


@pytest.mark.parametrize('templates', [None, 'default', ['a photo of a {}.']])
@pytest.mark.parametrize('chunk_size', [None, 5])
def test_published_zero_shot(tmp_path, templates, chunk_size):
    data = parity_data.load('semantic_init')
    names = parity_data.meta('semantic_init')['classnames']
    clip = dict(
        type='lift_mm.CLIPViT',
        arch=parity_models.ARCH,
        pretrained=parity_models.clip_file(tmp_path),
    )
    model = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(type='lift_mm.TunedBackbone', backbone=clip),
            neck=dict(type='lift_mm.CLIPProjection'),
            head=dict(
                type='lift_mm.TextHead',
                num_classes=len(names),
                templates=templates,
                chunk_size=chunk_size,
            ),
        )
    )
    model.head.set_class_info(names)
    assert not learned_parameters(model)
    found = model.eval()(data['zero_shot/images'], mode='tensor')
    for repo in ('v1', 'plus'):
        expected = data[f'zero_shot/{repo}_logits']
        assert relative(found, expected) < 1e-5, repo


def test_ensemble_is_that_of_the_semantic_start(tmp_path):
    """Against rows of ``SemanticInit``, by open_clip's tower."""
    model = classifier(tmp_path, dict(templates='ensemble'))
    cosine = tiny_models.model_config(clip_file(tmp_path))
    cosine['head'].update(
        in_channels=8,
        init=dict(
            type='SemanticInit',
            templates='ensemble',
            project=False,
            cache=False,
        ),
    )
    other = MODELS.build(cosine).head
    other.set_class_info(NAMES)
    other.init_weights()
    assert relative(model.head.rows(), other.fc.weight.detach()) < 1e-6


@method
def test_gradients_with_and_without_chunks(tmp_path, head):
    """Recomputation in chunks changes memory and nothing else."""
    names = [f'{name} {i}' for i in range(3) for name in NAMES]
    expected = None
    for chunk_size in (None, 4, 1, 1000):
        model = classifier(tmp_path, dict(head, chunk_size=chunk_size), names)
        learn(model, size=0.05)
        loss, found = grads(model)
        assert found and all(g is not None for g in found.values())
        assert all(g.any() for g in found.values())
        expected = expected or (loss, found)
        assert relative(loss, expected[0]) < 1e-6
        for key, grad in found.items():
            assert relative(grad, expected[1][key]) < 2e-5, key


@method
def test_gradients_are_those_of_plain_torch(tmp_path, head):
    """Finite differences of the loss along a random direction."""
    model = learn(classifier(tmp_path, head), size=0.05).double()
    model.data_preprocessor.float()
    torch.manual_seed(3)
    feature = torch.randn(2, 8, dtype=torch.float64)
    target = torch.tensor([0, 2])

    def loss():
        rows = model.head.rows()
        cosine = F.normalize(feature, dim=-1) @ rows.double().T
        scale = model.head.rows.text.logit_scale.exp()
        found = model.head((feature,))
        torch.testing.assert_close(found, scale * cosine, rtol=1e-5, atol=0)
        return F.cross_entropy(found, target)

    model.train()
    loss().backward()
    learned = [
        p for p in learned_parameters(model.head).values() if p.grad.any()
    ]
    steps = [torch.randn_like(p) for p in learned]
    slope = sum(float((p.grad * s).sum()) for p, s in zip(learned, steps))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, step in zip(learned, steps):
                parameter.add_(sign * 1e-3 * step)
            values.append(float(loss()))
            for parameter, step in zip(learned, steps):
                parameter.sub_(sign * 1e-3 * step)
    found = (values[0] - values[1]) / 2e-3
    assert found == pytest.approx(slope, rel=0.02, abs=1e-3)


def saved_bytes(model):
    """Count what the rows keep for the way back, each storage once."""
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        rows = model.head.rows()
    del rows
    return sum(s.nbytes() for key, s in seen.items() if key not in own)


def test_memory_is_bounded_by_a_chunk(tmp_path):
    coop = dict(prompt=dict(type='CoOp'))
    sizes = {}
    for classes in (32, 64):
        names = [f'class {i}' for i in range(classes)]
        for chunk in (None, 16):
            head = dict(coop, chunk_size=chunk)
            model = classifier(tmp_path, head, names).train()
            sizes[classes, chunk] = saved_bytes(model)
    assert sizes[64, None] > 1.9 * sizes[32, None]
    assert sizes[64, 16] < 0.1 * sizes[64, None]


# Rows that are kept


@method
def test_rows_are_kept_while_nothing_changes(tmp_path, head, monkeypatch):
    model = learn(classifier(tmp_path, head))
    kind = type(model.head.rows)
    encode, calls = kind._features, []
    monkeypatch.setattr(
        kind,
        '_features',
        lambda self, part: calls.append(part) or encode(self, part),
    )
    expected = logits(model)
    assert torch.equal(logits(model), expected)
    assert len(calls) == 1
    state = copy.deepcopy(model.state_dict())
    stale = [
        lambda: model.eval(),
        lambda: model.load_state_dict(state),
        lambda: model.head.set_class_info(NAMES),
        lambda: learn(model, size=0.0),
        lambda: model.double().float(),
    ]
    for number, change in enumerate(stale, 2):
        change()
        assert torch.equal(logits(model), expected), number
        assert len(calls) == number


@method
def test_kept_rows_never_answer_for_others(tmp_path, head):
    model = learn(classifier(tmp_path, head))
    expected, fresh = logits(model), logits(classifier(tmp_path, head))
    assert not torch.equal(expected, fresh)
    with disabled(model):
        base = logits(model)
        assert not torch.equal(base, expected)
    assert torch.equal(logits(model), expected)
    learn(model, 7)
    moved = logits(model)
    assert not torch.equal(moved, expected)
    clone, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    learn(model, 8)
    assert torch.equal(logits(clone), moved)
    assert torch.equal(logits(pickled), moved)
    model.head.set_class_info(NAMES[::-1])
    clone.head.set_class_info(NAMES)
    assert torch.equal(logits(clone), moved)
    with torch.autocast('cpu', torch.bfloat16):
        half = logits(clone)
    assert torch.equal(logits(clone), moved)
    assert relative(half, moved) < 0.05


def test_without_tuners_it_is_zero_shot(tmp_path):
    expected = logits(classifier(tmp_path))
    for name in ('adaptformer', 'projection', 'logit_scale', 'adapter'):
        model = learn(classifier(tmp_path, METHODS[name]))
        with disabled(model):
            assert torch.equal(logits(model), expected), name
    model = learn(classifier(tmp_path, METHODS['coop_phrase']))
    with disabled(model):
        assert torch.equal(logits(model), expected)


# Checkpoints


@method
def test_checkpoints_hold_what_was_learned(tmp_path, head):
    model = learn(classifier(tmp_path, head, neck=dict(tuned=True)))
    learned = learned_parameters(model).keys()
    state = apis.tuned_state(model)
    assert state.keys() == learned | {'fingerprint'}
    assert model.state_dict().keys() - frozen_keys(model) == state.keys()
    for load in (
        lambda other: other.load_state_dict(dict(state), strict=False),
        lambda other: apis.load_tuned(other, state),
    ):
        other = classifier(tmp_path, head, neck=dict(tuned=True))
        assert not torch.equal(logits(other), logits(model))
        load(other)
        assert torch.equal(logits(other), logits(model))


@pytest.mark.parametrize(
    'other, message',
    [
        (dict(head=dict(prompt=dict(type='CoOp', length=3))), 'tuners'),
        (dict(head=dict(prompt=dict(type='CoOp', position='front'))), 'tune'),
        (dict(head=dict(tune='logit_scale')), 'tuners'),
        (dict(head=METHODS['adapter']), 'tuners'),
        (dict(head=METHODS['adaptformer']), 'tuners'),
        (dict(neck=dict(tuned=True)), 'tuners'),
        (dict(neck=dict(adapter=dict(type='CLIPAdapter'))), 'tuners'),
        (dict(seed=1), 'base'),
        (dict(names=('elk', 'owl', 'yak')), 'class names'),
    ],
)
def test_checkpoints_of_others(tmp_path, other, message):
    coop = dict(head=METHODS['coop'])
    state = classifier(tmp_path, **coop).state_dict()
    if 'seed' in other:  # a checkpoint with a base may bring another
        state = apis.tuned_state(classifier(tmp_path, **coop))
    model = classifier(tmp_path, **{**coop, **other})
    with pytest.raises(ValueError, match=f'made for .*{message}'):
        model.load_state_dict(state, strict=False)


def test_loader_names_the_classes(tmp_path):
    """``get_model`` and banks say them by ``_dataset_meta``."""
    model = learn(classifier(tmp_path, METHODS['coop']))
    other = MODELS.build(config(tmp_path, METHODS['coop'])).eval()
    other.load_state_dict(apis.tuned_state(model), strict=False)
    with pytest.raises(ValueError, match='needs class names'):
        logits(other)
    assert other._dataset_meta == {}
    other._dataset_meta = dict(classes=NAMES)
    assert torch.equal(logits(other), logits(model))
    other._dataset_meta = dict(classes=NAMES[::-1])
    assert torch.equal(logits(other), logits(model).flip(1))
    other._dataset_meta = dict(classes=('one', 'two'))  # of another dataset
    assert torch.equal(logits(other), logits(model).flip(1))


class Stop(Hook):
    """Somebody stops the run when its second epoch begins."""

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize('name', ['coop', 'all'])
def test_runs_and_resumes(tmp_path, name):
    """A stopped run that goes on ends where an uninterrupted one does."""
    root = tiny_models.image_folder(tmp_path / 'data')

    def run(folder, *hooks, **kwargs):
        torch.manual_seed(0)
        found = tiny_models.run_config(
            tmp_path / folder,
            config(tmp_path, dict(METHODS[name], chunk_size=2)),
            root,
            **kwargs,
        )
        return tiny_models.runner(found, *hooks).train()

    model = run('straight')
    path = tmp_path / 'straight' / 'epoch_2.pth'
    stored = load_file(path)['state_dict']
    learned = learned_parameters(model)
    assert stored.keys() == learned.keys() | {'fingerprint'}
    assert path.stat().st_size < 200_000  # the token table alone: 1.6 MB
    assert model.head.class_names == tuple(sorted(NAMES))
    with pytest.raises(KeyboardInterrupt):
        run('stopped', Stop())
    resumed = learned_parameters(run('stopped', resume=True))
    for key, value in learned.items():
        assert torch.equal(value, resumed[key]), key


# Settings


def test_margins_grow_with_the_logits(tmp_path):
    head = dict(tune='logit_scale')
    found = config(tmp_path, head)
    found['head']['loss'] = dict(type='lift_mm.LDAMLoss')
    model = MODELS.build(found)
    loss = model.head.loss_module
    assert isinstance(loss, LDAMLoss)
    text = model.head.rows.text
    assert loss.scale == pytest.approx(text.logit_scale.exp().item())
    with torch.no_grad():
        text.logit_scale.fill_(2.0)
    model.head.set_class_info(NAMES)
    loss.set_class_info(NAMES, [3, 2, 1])
    grads(model)
    assert float(loss.scale) == pytest.approx(2.718281828**2)
    found['head']['loss'] = dict(type='lift_mm.LDAMLoss', scale=30.0)
    model = MODELS.build(found)
    model.head.set_class_info(NAMES)
    model.head.loss_module.set_class_info(NAMES, [3, 2, 1])
    grads(model)
    assert model.head.loss_module.scale == 30.0


LOSSES = [
    dict(type='CrossEntropyLoss'),
    dict(type='lift_mm.SoftmaxFocalLoss'),
    dict(type='lift_mm.LDAMLoss'),
    dict(type='lift_mm.ClassBalancedLoss'),
    dict(type='lift_mm.GeneralizedReweightLoss'),
    dict(type='lift_mm.BalancedSoftmaxLoss'),
    dict(type='lift_mm.LADELoss'),
]


@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss['type'])
def test_every_loss(tmp_path, loss):
    found = config(tmp_path, METHODS['coop'])
    found['head']['loss'] = loss
    model = MODELS.build(found)
    for part in (model.head, model.head.loss_module):
        if hasattr(part, 'set_class_info'):
            part.set_class_info(NAMES, [3, 2, 1])
    value, found = grads(model)
    assert torch.isfinite(value)
    assert all(grad.any() for grad in found.values())


@pytest.mark.parametrize(
    'head, message',
    [
        (dict(chunk_size=0), 'chunk_size=0'),
        (dict(init=dict(type='SemanticInit')), '`model.head.init`'),
        (dict(tune='proj'), "tune='proj'"),
        (dict(templates=['a photo']), '`model.head.templates`'),
        (dict(templates='default', prompt=dict(type='CoOp')), 'drop one'),
        (dict(text=dict(type='lift_mm.CLIPViT')), 'VisionTransformer is no'),
    ],
)
def test_wrong_settings(tmp_path, head, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(tmp_path, head))


def test_feature_of_another_space(tmp_path):
    found = config(tmp_path)
    del found['neck']
    with pytest.raises(ValueError, match='CLIPProjection.*`model.neck`'):
        MODELS.build(found)
    model = classifier(tmp_path)
    with pytest.raises(ValueError, match='width 32 and texts 8'):
        model.head((torch.randn(1, 32),))


def test_no_text_tower_is_known():
    with pytest.raises(ValueError, match='`model.head.text`'):
        MODELS.build(dict(type='lift_mm.TextHead', num_classes=3))


def test_names_are_needed(tmp_path):
    model = MODELS.build(config(tmp_path)).eval()
    with pytest.raises(ValueError, match='needs class names.*ClassInfoHook'):
        logits(model)
    with pytest.raises(ValueError, match='num_classes=3'):
        model.head.set_class_info(['fox'])


def test_neck_that_adapts_only(tmp_path):
    """Behind a ResNet there is no projection to learn or to pass."""
    found = config(tmp_path)
    found['neck'] = dict(type='lift_mm.CLIPAdapter')
    model = MODELS.build(found)
    assert model.neck.norm.normalized_shape == (8,)


@method
def test_half_precision_under_autocast(tmp_path, head):
    """Recomputed chunks have the type of the first pass."""
    found = []
    for chunk_size in (None, 2):
        model = classifier(tmp_path, dict(head, chunk_size=chunk_size))
        learn(model, size=0.05)
        expected, _ = grads(model)
        with torch.autocast('cpu', torch.bfloat16):
            loss, gradients = grads(model)
        assert relative(loss, expected) < 0.1
        assert all(g.dtype == torch.float32 for g in gradients.values())
        found.append(gradients)
    for key, gradient in found[0].items():
        assert gradient.any()
        assert relative(found[1][key], gradient) < 0.03, key


@pytest.mark.parametrize(
    'tuner, sized',
    [
        ('AdaptFormer', dict(hidden_dims=4)),
        ('Adapter', dict(hidden_dims=4)),
        ('LoRA', dict(rank=4)),
        ('VPT', dict(length=2)),
    ],
)
def test_sizes_in_the_text_tower_are_those_of_lift_plus(
    tmp_path, tuner, sized
):
    """They do not grow with the classes; a given size goes before."""

    def shapes(**settings):
        text = dict(ADAPTFORMER['text'], tuners=[dict(type=tuner, **settings)])
        names = [f'class {i}' for i in range(500)]
        head = MODELS.build(
            config(tmp_path, dict(text=text), names=names)
        ).head
        learned = learned_parameters(head.rows.text)
        return {name: value.shape for name, value in learned.items()}

    other = {key: value + 1 for key, value in sized.items()}
    assert shapes() == shapes(**sized) != shapes(**other)
