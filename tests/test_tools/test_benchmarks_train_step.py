"""The benchmark of the training step: fair, and right in what it counts."""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools/benchmarks'
ARCH = dict(
    embed_dim=16,
    vision_cfg=dict(
        image_size=32, layers=3, width=32, head_width=8, patch_size=8
    ),
    text_cfg=dict(width=16, heads=2, layers=1),
)


@pytest.fixture
def tools(monkeypatch):
    """Import modules of the benchmarks, which are scripts in a folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def tiny(tmp_path):
    """Give the options of a ViT of three narrow blocks."""
    path = tmp_path / 'tiny.json'
    path.write_text(json.dumps(ARCH))
    options = dict(image=32, batch_size=3, num_classes=7, bottleneck=4)
    words = [f'--{k.replace("_", "-")}={v}' for k, v in options.items()]
    return [f'--arch={path}', *words]


def test_functions_take_turns(tools):
    order = []
    found = tools('measure').alternate(
        {name: functools.partial(order.append, name) for name in 'abc'}, 3, 1
    )
    assert ''.join(order) == 'cababcbcacab'
    assert found == dict.fromkeys('abc', [None] * 3)


def test_ratios_pair_the_rounds(tools):
    """A machine that is ten times slower for a round changes nothing."""
    ratio = tools('measure').median_ratio
    assert ratio([2, 20, 3], [1, 10, 1]) == 2
    with pytest.raises(ValueError):
        ratio([1, 2], [1])


def test_saved_bytes_by_hand(tools):
    net = nn.Linear(4, 3)
    net.register_buffer('factor', torch.rand(4))
    x = torch.rand(5, 4, requires_grad=True)

    def loss():
        y = torch.tanh(x * net.factor)  # factor is a buffer; tanh keeps y
        z = torch.relu(net(y))  # keeps y again, weights, and z
        return z.sum() + (y[:, :2] * y[:, 2:]).sum()  # views of y

    saved = tools('measure').saved_bytes
    assert saved(loss, net) == 4 * (5 * 4 + 5 * 3)
    # The transposed weight is a view; a bias is not kept.
    assert saved(loss) == 4 * (5 * 4 + 5 * 3 + 4 + 3 * 4)


def test_peak_of_a_call(tools):
    """A process that fills 48 MiB and lets go of them needs 48 MiB."""
    measure = tools('measure')
    build = functools.partial(functools.partial, torch.ones, 12 * 2**20)
    found = measure.resident_peak(build)
    if sys.platform == 'linux':
        # The kernel counts pages in batches, a few dozen for each thread.
        assert 47.5 < found / measure.MIB < 56
    else:
        assert found is None


def gradients(net: nn.Module) -> dict[str, torch.Tensor]:
    """Give gradients by the names that ours have."""
    names = (('blocks.', 'backbone.layers.'), ('branch.', 'adaptformer.'))
    found = {}
    for name, parameter in net.named_parameters():
        for theirs, ours in names:
            name = name.replace(theirs, ours)
        if parameter.requires_grad:
            name = 'head.fc.weight' if name == 'head' else name
            found[name] = parameter.grad
    return found


@pytest.mark.parametrize(
    'variant', ['default', 'fast=False', 'recompute=mlp', 'recompute=block']
)
def test_all_compute_the_same(tools, tiny, variant):
    steps = tools('steps')
    args = tools('train_step').parse_args(tiny)
    theirs = steps.build_step(args, steps.STRAIGHTFORWARD)
    ours = steps.build_step(args, variant)
    images, _ = steps.make_batch(args)
    logits = ours.net.head(ours.net.extract_feat(images))
    torch.testing.assert_close(
        theirs.net(images), logits, atol=1e-5, rtol=1e-5
    )
    for step in (theirs, ours):
        step.loss().backward()
    found, expected = gradients(ours.net), gradients(theirs.net)
    assert len(found) == 3 * 7 + 1
    assert all(grad.abs().max() > 0 for grad in expected.values())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    # Momentum and weight decay, too.
    for _ in range(2):
        ours(), theirs()
    torch.testing.assert_close(theirs.value, ours.value)


def test_products_are_those_of_the_step(tools, tiny):
    """torch's own counter finds as many operations."""
    steps = tools('steps')
    args = tools('train_step').parse_args(tiny)
    step = steps.build_step(args, steps.STRAIGHTFORWARD)
    size = steps.sizes(steps.build_ours(args, 'default'), args)
    # The counter does not know all of the fused kernels.
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        step.loss().backward()
    work = tools('straightforward').products(args.batch_size, **size)
    assert sum(job.flop for job in work) == counter.get_total_flops()


def test_saved_bytes_of_a_vit_b_16(tools):
    """The bars, at full size: 105 MiB an image of the straightforward step.

    Two images, because the head's normalised rows (2.9 MiB) are kept once
    for all images of a step and belong to none of them.
    """
    steps, measure = tools('steps'), tools('measure')
    args = tools('train_step').parse_args(['--batch-size=2'])
    found = {}
    for name in (steps.STRAIGHTFORWARD, 'default', 'mlp', 'block'):
        step = steps.build_step(args, name)
        saved = measure.saved_bytes(step.loss, step.net)
        found[name] = saved / args.batch_size / measure.MIB
    base = found[steps.STRAIGHTFORWARD]
    assert 105 < base < 107
    assert found['default'] <= 0.68 * base
    assert found['mlp'] <= 0.40 * base
    assert found['block'] <= 0.10 * base


def run(*options: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        [sys.executable, FOLDER / 'train_step.py', *options],
        env={**os.environ, 'PYTHONPATH': path, 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_tool(tools, tiny, tmp_path):
    file = tmp_path / 'found.json'
    options = ('--rounds=2', '--threads=1', f'--json={file}')
    done = run(*tiny, *options, '--variants', 'fast=False', 'block+bfloat16')
    assert not done.returncode, done.stderr
    found = json.loads(file.read_text())
    columns = found['columns']
    names = ['straightforward', 'fast=False', 'block+bfloat16']
    assert list(columns) == [*names, 'plain', 'products']
    lines = done.stdout.splitlines()
    assert 'batch 3, fp32, 2 rounds' in lines[0]
    assert lines[3].split() == list(columns)
    rows = tools('train_step').DIGITS
    for row, line in zip(rows, lines[4:], strict=True):
        assert line.startswith(row)
        assert len(line[len(row) :].split()) == len(columns)
    for name in names:
        column = columns[name]
        assert column.keys() == rows.keys()
        parts = ('forward, ms', 'backward, ms', 'step, ms', 'images/s')
        assert min(column[part] for part in parts) > 0
    first = columns['straightforward']
    assert first['step / straightforward'] == 1
    assert first['saved / straightforward'] == 1
    assert columns['block+bfloat16']['saved / straightforward'] < 0.9
    assert columns['plain']['step / plain'] == 1
    loss = columns['fast=False']['first loss']
    assert loss == pytest.approx(first['first loss'], rel=1e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--variants', 'fast+block'], '--variants: unknown fast; possible'),
        (['--rounds', '0'], '--rounds >= 1'),
        (['--half'], '--half needs a GPU'),
    ],
)
def test_mistakes(tools, monkeypatch, capsys, options, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit):
        tools('train_step').parse_args(options)
    assert message in capsys.readouterr().err
