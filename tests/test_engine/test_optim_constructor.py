"""The optimizer holds what learns and nothing else."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from test_tuners.tiny_models import classifier

from lift_mm.compat import has_accelerator
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
