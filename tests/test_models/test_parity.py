"""The published programs' numbers: tower, AdaptFormer, training runs."""

import json

import parity_data
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from parity_models import SHORTCUTS, build, relative, tuners_of

from lift_mm.engine.resumable_loop import accumulate_by_epoch
from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert

FEATURE, TRAJECTORY = 1e-5, 1e-4


def test_vision_tower(tmp_path):
    data = parity_data.load('vision_tower')
    net = build(tmp_path).backbone
    seen = {}

    def keep(name):
        def hook(module, args, out):
            seen[name] = out

        return hook

    net.pre_norm.register_forward_hook(keep('after_ln_pre'))
    for i, layer in enumerate(net.layers):
        layer.register_forward_hook(keep(f'after_block_{i}'))
    with torch.no_grad():
        (feature,) = net(data['images'])
    assert relative(feature, data['feature']) < FEATURE
    expected = {k for k in data if k.startswith('tokens/')}
    assert {f'tokens/{name}' for name in seen} == expected
    for name, value in seen.items():
        assert relative(value, data[f'tokens/{name}']) < FEATURE
    projected = feature @ data['backbone/visual.proj'].float()
    assert relative(projected, data['image_embedding']) < FEATURE


RUNS = sorted(parity_data.meta('trajectory')['runs'])


@pytest.mark.parametrize('shortcuts', SHORTCUTS)
@pytest.mark.parametrize('run', RUNS)
def test_trajectory(tmp_path, run, shortcuts):
    """Thirty steps with the optimizer wrapper and the scheduler we use."""
    data = parity_data.load('trajectory')
    meta = parity_data.meta('trajectory')
    settings = meta['runs'][run]

    def state_at(moment):
        prefix = f'{run}/{moment}/'
        state, unplaced = convert(
            {k[len(prefix) :]: v for k, v in data.items() if prefix in k}
        )
        assert not unplaced
        return state

    options = dict(settings['options'])
    if run.startswith('plus/'):
        options['plus'] = True
    model = build(
        tmp_path,
        tuners_of(options),
        num_classes=meta['num_classes'],
        class_counts=data['cls_num_list'].tolist(),
        **SHORTCUTS[shortcuts],
    )
    model.load_state_dict(state_at('init'), strict=False)
    with torch.no_grad():
        model.head.fc.weight.copy_(data['head_init/weight'])
    learned = learned_parameters(model)
    assert state_at('init').keys() | {'head.fc.weight'} == learned.keys()
    tuned = sum(p.numel() for p in learned.values())
    assert (
        tuned - model.head.fc.weight.numel()
        == (settings['n_tuned_excluding_head'])
    )

    from mmengine.optim import CosineAnnealingLR

    epochs, batches = settings['epochs'], settings['micro_batches_per_epoch']
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='lift_mm.TunedOptimWrapperConstructor',
            accumulative_counts=settings['accum_step'],
            optimizer=dict(
                type='SGD',
                lr=settings['lr'],
                momentum=meta['momentum'],
                weight_decay=meta['weight_decay'],
            ),
        ),
    )
    optimizer = wrapper.optimizer
    scheduler = CosineAnnealingLR(
        wrapper, T_max=epochs, begin=0, end=epochs, by_epoch=True
    )
    losses, rates, steps = [], [], 0
    original = optimizer.step

    def step(*args, **kwargs):
        nonlocal steps
        steps += 1
        rates.append(optimizer.param_groups[0]['lr'])
        return original(*args, **kwargs)

    optimizer.step = step
    for _ in range(epochs):
        accumulate_by_epoch(wrapper, model, 0, batches)
        for _ in range(batches):
            batch = len(losses) % len(data['batches/images'])
            logits = model(data['batches/images'][batch])
            targets = data['batches/targets'][batch]
            loss = model.head.loss_module(logits, targets)
            losses.append(loss.item())
            wrapper.update_params(loss)
        scheduler.step()
    assert steps == settings['optimizer_steps']
    expected = data[f'{run}/lr_per_optimizer_step']
    assert relative(torch.tensor(rates), expected) < 1e-6
    assert len(losses) == settings['forward_steps']
    for loss, value in zip(losses, data[f'{run}/losses'].tolist()):
        assert loss == pytest.approx(value, rel=TRAJECTORY)
    assert relative(logits, data[f'{run}/last_logits']) < TRAJECTORY
    weight = data[f'{run}/final_head.weight']
    assert relative(model.head.fc.weight, weight) < TRAJECTORY
    for name, value in state_at('final').items():
        assert relative(learned[name], value) < TRAJECTORY, name


SIZES = json.loads((parity_data.ROOT / 'sizes_and_counts.json').read_text())


@pytest.mark.parametrize('name', sorted(SIZES['auto_sizes']))
def test_automatic_size(name):
    from lift_mm.tuners.settings import pow2_floor

    _, classes, layers = name.split('|')
    classes, layers = (int(x.split('=')[1]) for x in (classes, layers))
    expected = SIZES['auto_sizes'][name]
    size = pow2_floor(classes / (2 * layers))
    assert size == expected['v1_adapter_dim']
    assert size == expected['plus_adaptformer_dim']


@pytest.mark.parametrize(
    'classes, learned',
    [(100, 101_436), (365, 175_212), (1000, 617_868), (8142, 4_749_324)],
)
def test_learned_parameters_of_vit_b16(classes, learned):
    """Counted on meta tensors: no memory, no initialisation."""
    from lift_mm.tuners.adaptformer import AdaptFormerBranch
    from lift_mm.tuners.settings import pow2_floor

    with torch.device('meta'):
        branch = AdaptFormerBranch(768, pow2_floor(classes / 24), 'lift')
    assert 12 * sum(p.numel() for p in branch.parameters()) == learned
