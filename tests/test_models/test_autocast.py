"""bfloat16 autocast, for real on the CPU, against the published numbers.

A value has 8 bits there, and rounding adds up over four blocks: 2 % in
logits and gradients, 4 % after thirty steps.
"""

import parity_data
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from parity_models import build, relative, tuners_of

from lift_mm import accelerator
from lift_mm.models import (
    CosineHead,
    L2NormHead,
    LayerNormHead,
    LinearHead,
)
from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert

ONE_STEP, THIRTY_STEPS = 0.02, 0.04
DATA, META = parity_data.load('trajectory'), parity_data.meta('trajectory')
# One epoch each, at one rate.
RUNS = sorted(run for run in META['runs'] if run.endswith('_const'))


def state_at(run, moment):
    prefix = f'{run}/{moment}/'
    return convert(
        {k[len(prefix) :]: v for k, v in DATA.items() if prefix in k}
    )[0]


def started(folder, run):
    """The model as it was before the first step of a published run."""
    options = dict(META['runs'][run]['options'])
    if run.startswith('plus/'):
        options['plus'] = True
    model = build(
        folder,
        tuners_of(options),
        num_classes=META['num_classes'],
        class_counts=DATA['cls_num_list'].tolist(),
    )
    model.load_state_dict(state_at(run, 'init'), strict=False)
    with torch.no_grad():
        model.head.fc.weight.copy_(DATA['head_init/weight'])
    return model


def loss_of(model, number):
    number %= len(DATA['batches/images'])
    logits = model(DATA['batches/images'][number])
    targets = DATA['batches/targets'][number]
    return logits, model.head.loss_module(logits, targets)


@pytest.mark.parametrize('run', RUNS)
def test_one_step(tmp_path, run):
    model = started(tmp_path, run)

    def step(half):
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            logits, loss = loss_of(model, 0)
        loss.backward()
        grads = [p.grad for p in learned_parameters(model).values()]
        return logits, loss, torch.cat([grad.flatten() for grad in grads])

    logits, loss, grad = step(half=False)
    half_logits, half_loss, half_grad = step(half=True)
    assert half_logits.dtype is half_loss.dtype is torch.float32
    assert 1e-4 < relative(half_logits, logits) < ONE_STEP  # it was half
    assert half_loss.item() == pytest.approx(loss.item(), rel=ONE_STEP)
    assert relative(half_grad, grad) < ONE_STEP


@pytest.mark.parametrize('run', RUNS)
def test_thirty_steps(tmp_path, monkeypatch, run):
    """By mmengine's AMP wrapper, whose only wish is a GPU."""
    monkeypatch.setattr(accelerator, 'has_accelerator', lambda: True)
    monkeypatch.setattr(accelerator, 'half_dtype', lambda: 'bfloat16')
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )
    settings = META['runs'][run]
    assert (settings['epochs'], settings['accum_step']) == (1, 1)
    model = started(tmp_path, run)
    learned = learned_parameters(model)
    before = {k: v.detach().clone() for k, v in learned.items()}
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='AmpOptimWrapper',
            constructor='lift_mm.TunedOptimWrapperConstructor',
            optimizer=dict(
                type='SGD',
                lr=settings['lr'],
                momentum=META['momentum'],
                weight_decay=META['weight_decay'],
            ),
        ),
    )
    for number in range(settings['forward_steps']):
        with wrapper.optim_context(model):
            logits, loss = loss_of(model, number)
        wrapper.update_params(loss)
    assert relative(logits, DATA[f'{run}/last_logits']) < THIRTY_STEPS
    final = state_at(run, 'final')
    final['head.fc.weight'] = DATA[f'{run}/final_head.weight']
    assert final.keys() == learned.keys()

    def change(state):
        return torch.cat([(state[k] - before[k]).flatten() for k in before])

    assert 1e-4 < relative(change(learned), change(final)) < THIRTY_STEPS


@pytest.mark.parametrize(
    'kind', [CosineHead, L2NormHead, LayerNormHead, LinearHead]
)
def test_logits_are_not_rounded(kind):
    torch.manual_seed(0)
    head, feature = kind(num_classes=5, in_channels=8), torch.randn(4, 8)
    feature = feature.bfloat16().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        half = head((feature,))
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, head((feature.float(),)))
    half.sum().backward()
    assert feature.grad.dtype is torch.bfloat16
