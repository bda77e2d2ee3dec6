"""The optimizer holds what learns and nothing else."""

import functools
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from test_tuners.tiny_models import classifier

from lift_mm import accelerator
from lift_mm.accelerator import has_accelerator
from lift_mm.engine import TunedCheckpointHook
from lift_mm.tuners import learned_parameters, learned_parts


def build(model, **settings):
    config = dict(
        constructor='lift_mm.TunedOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01),
    )
    return build_optim_wrapper(model, {**config, **settings})


def groups_by_name(wrapper, model):
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: group
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


@pytest.fixture
def log(monkeypatch):
    """Records that reach the current logger."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [handler])
    monkeypatch.setattr(logger, 'level', logging.INFO)
    return records


def test_learned_parameters_only(log):
    model = classifier()
    groups = groups_by_name(build(model), model)
    assert groups.keys() == learned_parameters(model).keys()
    rates = {(g['lr'], g['weight_decay']) for g in groups.values()}
    assert rates == {(0.1, 0.01)}  # weight decay on everything, as in LIFT
    lines = [record.getMessage() for record in log]
    (table,) = [line for line in lines if 'adaptformer' in line]
    parts = learned_parts(model)
    assert parts.keys() == {'adaptformer', 'head'}
    assert all(f'{number:,}' in table for number in parts.values())
    assert parts['head'] == 3 * 32
    # Two blocks: norm, down, up, scale.
    assert parts['adaptformer'] == 2 * (2 * 32 + 33 * 2 + 3 * 32 + 1)


def test_custom_keys(log):
    model = classifier()
    keys = {
        'head': dict(lr_mult=10),
        'layers.1.adaptformer': dict(lr_mult=0.5, decay_mult=0),
    }
    wrapper = build(
        model, paramwise_cfg=dict(custom_keys=keys, bias_decay_mult=0)
    )
    groups = groups_by_name(wrapper, model)
    assert groups.keys() == learned_parameters(model).keys()
    for name, group in groups.items():
        rate, decay = 0.1, 0.01
        if name.startswith('head'):
            rate = 1.0
        elif '.1.adaptformer' in name:
            rate, decay = 0.05, 0
        elif name.endswith('bias'):
            decay = 0
        assert group['lr'] == pytest.approx(rate), name
        assert group['weight_decay'] == decay, name
    # mmengine's own would name each of the two dozen frozen tensors.
    warned = [r.getMessage() for r in log if r.levelno >= logging.WARNING]
    assert all('layers.' not in line for line in warned), warned
    assert len(warned) <= 2


def test_inside_a_wrapper():
    model = classifier()
    outer = torch.nn.Module()
    outer.module = model
    groups = groups_by_name(build(outer), model)
    assert groups.keys() == learned_parameters(model).keys()


def test_linear_probe():
    model = classifier(tuners=[])
    assert groups_by_name(build(model), model).keys() == {'head.fc.weight'}
    assert learned_parts(model) == {'head': 96}


def test_nothing_learns():
    model = classifier(tuners=[])
    model.requires_grad_(False)
    with pytest.raises(ValueError, match='list a tuner in .backbone.tuners'):
        build(model)


@pytest.mark.skipif(has_accelerator(), reason='AMP works here')
def test_amp_without_accelerator():
    settings = dict(type='AmpOptimWrapper', loss_scale='dynamic')
    wrapper = build(classifier(), accumulative_counts=2, **settings)
    assert type(wrapper) is OptimWrapper
    assert not isinstance(wrapper, AmpOptimWrapper)
    assert wrapper._accumulative_counts == 2


def test_steps_leave_the_base_alone():
    model = classifier()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wrapper = build(model)
    feats = model.extract_feat(torch.randn(2, 3, 16, 16))
    loss = model.head(feats).square().sum()
    wrapper.update_params(loss)
    learned = learned_parameters(model)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) is (key not in learned), key


@pytest.mark.parametrize(
    'optimizer, fused',
    [
        (dict(type='SGD', lr=0.1), True),
        (dict(type='AdamW', lr=0.1), True),
        (dict(type=torch.optim.Adam, lr=0.1), True),
        (dict(type='SGD', lr=0.1, fused=False), False),
        (dict(type='AdamW', lr=0.1, foreach=True), None),
        (dict(type='Adam', lr=0.1, differentiable=True), None),
    ],
)
@pytest.mark.parametrize('paramwise', [None, dict(bias_lr_mult=2.0)])
def test_fused(optimizer, fused, paramwise):
    wrapper = build(classifier(), optimizer=optimizer, paramwise_cfg=paramwise)
    groups = wrapper.optimizer.param_groups
    assert {group['fused'] for group in groups} == {fused}


def test_not_fused():
    """RMSprop has no such kernel, and no GPU or CPU is a meta tensor's."""
    rmsprop = build(classifier(), optimizer=dict(type='RMSprop', lr=0.1))
    assert 'fused' not in rmsprop.optimizer.param_groups[0]
    meta = build(classifier().to('meta'))
    assert meta.optimizer.param_groups[0]['fused'] is None


def steps(model, wrapper, numbers):
    for number in numbers:
        torch.manual_seed(number)
        feats = model.extract_feat(torch.randn(2, 3, 16, 16))
        wrapper.update_params(model.head(feats).square().mean())


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
@pytest.mark.parametrize('saved, loaded', [(True, False), (False, True)])
def test_resume_with_other_kernels(kind, saved, loaded):
    """As if the run went on where there is no GPU, or only there is one."""
    optimizer = dict(type=kind, lr=0.01, weight_decay=0.01)
    if kind == 'SGD':
        optimizer['momentum'] = 0.9

    def fresh(fused):
        torch.manual_seed(0)
        model = classifier()
        wrapper = build(model, optimizer=dict(optimizer, fused=fused))
        return model, wrapper

    whole, wrapper = fresh(loaded)
    steps(whole, wrapper, range(4))

    model, wrapper = fresh(saved)
    steps(model, wrapper, range(2))
    state = wrapper.state_dict()
    cut, resumed = fresh(loaded)
    cut.load_state_dict(model.state_dict())
    resumed.load_state_dict(state)
    assert state['param_groups'][0]['fused'] is saved
    assert resumed.optimizer.param_groups[0]['fused'] is loaded
    steps(cut, resumed, range(2, 4))
    for name, value in learned_parameters(cut).items():
        expected = learned_parameters(whole)[name]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


def test_a_state_of_another_model_is_refused():
    state = build(classifier(tuners=[])).state_dict()
    model = classifier()
    with pytest.raises(ValueError, match='size of optimizer'):
        build(model).load_state_dict(state)
    paramwise = dict(bias_lr_mult=2.0)
    with pytest.raises(ValueError, match='number of parameter groups'):
        build(model, paramwise_cfg=paramwise).load_state_dict(state)


@pytest.fixture
def amp(monkeypatch):
    """mmengine's AMP, which wants a GPU, on the CPU and its scaler."""
    monkeypatch.setattr(accelerator, 'has_accelerator', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )
    monkeypatch.setattr(
        amp_optimizer_wrapper,
        'GradScaler',
        functools.partial(torch.amp.GradScaler, 'cpu'),
    )

    def build_amp(half, model, **settings):
        monkeypatch.setattr(accelerator, 'half_dtype', lambda: half)
        return build(model, type='AmpOptimWrapper', **settings)

    return build_amp


@pytest.mark.parametrize(
    'half, settings, dtype, scales',
    [
        ('bfloat16', {}, torch.bfloat16, False),
        ('float16', {}, torch.float16, True),
        ('bfloat16', dict(dtype='float16'), torch.float16, True),
        ('float16', dict(dtype='bfloat16'), torch.bfloat16, False),
        ('bfloat16', dict(loss_scale=8.0), torch.bfloat16, True),
    ],
)
def test_amp(amp, half, settings, dtype, scales):
    wrapper = amp(half, classifier(), **settings)
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.cast_dtype is dtype
    assert wrapper.loss_scaler.is_enabled() is scales


@pytest.mark.parametrize('saved', ['bfloat16', 'float16', None])
@pytest.mark.parametrize('loaded', ['bfloat16', 'float16', None])
def test_resume_in_another_precision(amp, saved, loaded):
    """A scale that both sides use is kept, any other begins anew."""

    def fresh(half, model):
        return amp(half, model) if half else build(model)

    model = classifier()
    wrapper = fresh(saved, model)
    steps(model, wrapper, range(2))
    if saved == 'float16':
        wrapper.loss_scaler.update(256.0)
    checkpoint = dict(state_dict={}, optimizer=wrapper.state_dict())
    hook = TunedCheckpointHook()
    hook.before_save_checkpoint(SimpleNamespace(model=model), checkpoint)
    other = classifier()
    resumed = fresh(loaded, other)
    resumed.load_state_dict(checkpoint['optimizer'])
    steps(other, resumed, range(1))
    if loaded == 'float16':
        kept = 256.0 if saved == 'float16' else 65536.0
        assert resumed.loss_scaler.get_scale() == kept


def test_a_loss_scale_leaves_fused_steps_alone(amp):
    """The kernel divides by it: same weights as without a scale."""
    learned = {}
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        model = classifier()
        wrapper = amp('bfloat16', model, loss_scale=scale)
        steps(model, wrapper, range(3))
        assert wrapper.optimizer.param_groups[0]['fused'] is True
        learned[scale] = learned_parameters(model)
    for name, value in learned[1024.0].items():
        torch.testing.assert_close(value, learned[1.0][name])
