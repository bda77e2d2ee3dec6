"""The published programs' numbers: tower, AdaptFormer, training runs."""

import json

import parity_data
import pytest
import torch
from mmengine.optim import OptimWrapper
from parity_models import adaptformer_state, build, relative

from lift_mm.engine.resumable_loop import accumulate_by_epoch
from lift_mm.tuners import learned_parameters

FEATURE, GRADIENT, TRAJECTORY = 1e-5, 5e-5, 1e-4


def load_tuned(net, state):
    result = net.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    lacking = [k for k in result.missing_keys if 'adaptformer' in k]
    assert not lacking


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


CASES = [
    ('tuners_v1', 'v1/linear_probe', None),
    ('tuners_v1', 'v1/adaptformer', dict()),
    ('tuners_v1', 'v1/adaptformer_partial2', dict(layers=2)),
    ('tuners_v1', 'v1/adaptformer_partial_range', 'range'),
    ('tuners_plus', 'plus/linear_probe', None),
    ('tuners_plus', 'plus/adaptformer', dict(sizing='lift+')),
    ('tuners_plus', 'plus/adaptformer_last1', dict(layers=1, sizing='lift+')),
]


@pytest.mark.parametrize('file, case, settings', CASES, ids=lambda c: str(c))
@pytest.mark.parametrize('scale', [25, 30])
def test_one_step(tmp_path, file, case, settings, scale):
    data, meta = parity_data.load(file), parity_data.meta(file)
    if settings == 'range':
        options = meta['cases'][case.split('/')[1]]['options']
        settings = dict(
            layers=list(range(*options['partial'])),
            hidden_dims=options['adapter_dim'],
        )
    tuners = [] if settings is None else [dict(type='AdaptFormer', **settings)]
    counts = data['cls_num_list'].tolist()
    model = build(tmp_path, tuners, class_counts=counts, scale=scale)
    net = model.backbone
    load_tuned(net, adaptformer_state(data, f'{case}/param/'))
    expected = meta['cases'][case.split('/')[1]]['n_tuned_excluding_head']
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == (
        expected
    )
    with torch.no_grad():
        model.head.fc.weight.copy_(data['head.weight'])

    feats = net(data['images'])
    logits = model.head(feats)
    loss = model.head.loss_module(logits, data['targets'])
    loss.backward()
    assert relative(feats[0], data[f'{case}/feature']) < FEATURE
    assert relative(logits, data[f'{case}/logits_s{scale}']) < FEATURE
    assert relative(loss, data[f'{case}/loss_s{scale}']) < FEATURE
    grad = data[f'{case}/grad_head_s{scale}']
    assert relative(model.head.fc.weight.grad, grad) < GRADIENT
    if scale == 25:
        gradients = adaptformer_state(data, f'{case}/grad/')
        learned = learned_parameters(net)
        assert gradients.keys() == learned.keys()
        for name, value in gradients.items():
            assert relative(learned[name].grad, value) < GRADIENT, name


RUNS = [
    'v1/adaptformer_const',
    'v1/adaptformer_cosine',
    'v1/adaptformer_accum2',
    'plus/adaptformer_const',
    'plus/adaptformer_cosine_lr02',
    'plus/adaptformer_accum2',
]


@pytest.mark.parametrize('run', RUNS)
def test_trajectory(tmp_path, run):
    """Thirty steps with the optimizer wrapper and the scheduler we use."""
    data = parity_data.load('trajectory')
    meta = parity_data.meta('trajectory')
    settings = meta['runs'][run]
    model = build(
        tmp_path,
        [dict(type='AdaptFormer')],
        num_classes=meta['num_classes'],
        class_counts=data['cls_num_list'].tolist(),
    )
    load_tuned(model.backbone, adaptformer_state(data, f'{run}/init/'))
    with torch.no_grad():
        model.head.fc.weight.copy_(data['head_init/weight'])
    learned = learned_parameters(model)
    tuned = sum(p.numel() for p in learned.values())
    assert (
        tuned - model.head.fc.weight.numel()
        == (settings['n_tuned_excluding_head'])
    )

    from mmengine.optim import CosineAnnealingLR

    epochs, batches = settings['epochs'], settings['micro_batches_per_epoch']
    optimizer = torch.optim.SGD(
        learned.values(),
        lr=settings['lr'],
        momentum=meta['momentum'],
        weight_decay=meta['weight_decay'],
    )
    wrapper = OptimWrapper(
        optimizer, accumulative_counts=settings['accum_step']
    )
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
    for name, value in adaptformer_state(data, f'{run}/final/').items():
        got = learned['backbone.' + name]
        assert relative(got, value) < TRAJECTORY, name


SIZES = json.loads((parity_data.ROOT / 'sizes_and_counts.json').read_text())


@pytest.mark.parametrize('name', sorted(SIZES['auto_sizes']))
def test_automatic_size(name):
    from lift_mm.tuners.base import pow2_floor

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
    from lift_mm.tuners.base import pow2_floor

    with torch.device('meta'):
        branch = AdaptFormerBranch(768, pow2_floor(classes / 24), 'lift')
    assert 12 * sum(p.numel() for p in branch.parameters()) == learned
