"""What a config written for GPUs becomes on the machine at hand."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from lift_mm import accelerator


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(accelerator, 'has_accelerator', lambda: False)
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)
    accelerator._warn_fp32.cache_clear()


def test_cpu_distributed(no_accelerator):
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    accelerator.cpu_distributed(cfg)
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )
    torch.cuda.set_device(0)  # mmengine does, in every process


def test_cpu_distributed_keeps_what_the_user_chose(no_accelerator):
    wrapper = dict(type='MMFullyShardedDataParallel')
    env_cfg = dict(dist_cfg=dict(backend='mpi', timeout=60))
    cfg = Config(
        dict(launcher='mpi', env_cfg=env_cfg, model_wrapper_cfg=wrapper)
    )
    accelerator.cpu_distributed(cfg)
    assert cfg.model_wrapper_cfg == wrapper
    assert cfg.env_cfg == env_cfg


def test_cpu_distributed_leaves_others_alone(no_accelerator, monkeypatch):
    single = Config(dict(launcher='none'))
    accelerator.cpu_distributed(single)
    monkeypatch.setattr(accelerator, 'has_accelerator', lambda: True)
    on_gpu = Config(dict(launcher='pytorch'))
    accelerator.cpu_distributed(on_gpu)
    assert list(single) == list(on_gpu) == ['launcher']


@pytest.mark.parametrize(
    'kind', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper', AmpOptimWrapper]
)
def test_without_amp(no_accelerator, monkeypatch, kind):
    warned = []
    monkeypatch.setattr(
        accelerator, 'print_log', lambda text, **kwargs: warned.append(kwargs)
    )
    optimizer = dict(type='SGD', lr=0.1)
    amp = dict(type=kind, optimizer=optimizer, clip_grad=None)
    options = dict(loss_scale='dynamic', dtype='float16', use_fsdp=False)
    before = dict(amp, **options)
    plain = accelerator.without_amp(before)
    assert plain == dict(amp, type='OptimWrapper')
    assert before == dict(amp, **options)
    assert accelerator.without_amp(plain) is plain
    accelerator.without_amp(before)
    assert [entry['level'] for entry in warned] == [logging.WARNING]

    monkeypatch.setattr(accelerator, 'has_accelerator', lambda: True)
    assert accelerator.without_amp(before) is before


def test_without_fp16(no_accelerator):
    assert accelerator.without_fp16(None) is None
    loop = dict(fp16=False)
    assert accelerator.without_fp16(loop) is loop
    loop = dict(type='TestLoop', fp16=True)
    assert accelerator.without_fp16(loop) == dict(loop, fp16=False)
    assert loop['fp16'] is True


@pytest.mark.parametrize(
    'cuda, computes_bf16, name',
    [
        (False, False, 'float16'),
        (True, False, 'float16'),
        (True, True, 'bfloat16'),
    ],
)
def test_half_dtype(monkeypatch, cuda, computes_bf16, name):
    def supported(including_emulation=True):
        return including_emulation or computes_bf16

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', supported)
    assert accelerator.half_dtype() == name


@pytest.mark.parametrize('cuda', [False, True])
@pytest.mark.parametrize('half', ['bfloat16', 'float16'])
def test_set_half_dtype(monkeypatch, cuda, half):
    """mmengine's loops ask torch for the type that they do not name."""
    before = torch.get_autocast_dtype('cuda')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(accelerator, 'half_dtype', lambda: half)
    try:
        accelerator.set_half_dtype()
        expected = getattr(torch, half) if cuda else before
        assert torch.get_autocast_dtype('cuda') == expected
    finally:
        torch.set_autocast_dtype('cuda', before)


NO_SCALE = dict(enabled=False)


@pytest.mark.parametrize(
    'half, given, expected',
    [
        ('bfloat16', {}, dict(dtype='bfloat16', loss_scale=NO_SCALE)),
        ('float16', {}, dict(dtype='float16')),
        # What the config says holds.
        ('bfloat16', dict(dtype='float16'), dict(dtype='float16')),
        (
            'float16',
            dict(dtype='bfloat16'),
            dict(dtype='bfloat16', loss_scale=NO_SCALE),
        ),
        (
            'float16',
            dict(dtype=torch.bfloat16),
            dict(dtype=torch.bfloat16, loss_scale=NO_SCALE),
        ),
        (
            'bfloat16',
            dict(loss_scale='dynamic'),
            dict(dtype='bfloat16', loss_scale='dynamic'),
        ),
        (
            'float16',
            dict(loss_scale=512.0),
            dict(dtype='float16', loss_scale=512.0),
        ),
    ],
)
def test_amp_defaults(monkeypatch, half, given, expected):
    monkeypatch.setattr(accelerator, 'half_dtype', lambda: half)
    amp = dict(type='AmpOptimWrapper', accumulative_counts=2)
    before = dict(amp, **given)
    assert accelerator.amp_defaults(before) == dict(amp, **expected)
    assert before == dict(amp, **given)


def test_amp_defaults_leaves_others_alone():
    plain = dict(type='OptimWrapper')
    assert accelerator.amp_defaults(plain) is plain
