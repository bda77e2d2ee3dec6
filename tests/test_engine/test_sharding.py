"""A backbone spread over two processes learns what a whole one does."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmpretrain.structures import DataSample
from ranks import run_ranks
from test_tuners import tiny_models as tiny
from torch.nn.parallel import DistributedDataParallel

from lift_mm import compat
from lift_mm.engine.sharding import frozen_bytes, is_sharded, shard
from lift_mm.models import MeanLogitTTA  # noqa: F401, registers
from lift_mm.registry import MODELS
from lift_mm.safe_load import load_file
from lift_mm.tuners import frozen_keys, learned_parameters

TUNERS = dict(
    AdaptFormer=dict(hidden_dims=2),
    Adapter=dict(hidden_dims=2),
    LoRA=dict(rank=2),
    SSF=dict(),
    VPT=dict(length=2),
    MaskedTuning=dict(ratio=0.1),
    BitFit=dict(),
    NormTuning=dict(),
    FullTuning=dict(layers=1),
)
# How the backbone computes, for the first tuner.
WAYS = dict(
    half=dict(frozen_dtype='bfloat16'),
    recomputed=dict(recompute='block'),
    plain=dict(fast=False),
)


def two_steps(config: dict, sharded: bool) -> dict:
    """Make two steps on batches of this rank's own."""
    torch.manual_seed(0)
    model = MODELS.build(config)
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))
    if sharded:
        shard(model)
    ddp = DistributedDataParallel(model)
    learned = learned_parameters(model)
    optimizer = torch.optim.SGD(learned.values(), lr=0.1)
    images = torch.Generator().manual_seed(1 + get_rank())
    samples = [DataSample().set_gt_label(label) for label in (0, 2)]
    ddp.train()
    for _ in range(2):
        batch = torch.randn(2, 3, 16, 16, generator=images)
        ddp(batch, samples, mode='loss')['loss'].backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        logits = model(batch)
    halves = [
        p.dtype == torch.bfloat16
        for p in model.backbone.parameters()
        if not p.requires_grad
    ]
    return dict(
        learned={n: p.detach().clone() for n, p in learned.items()},
        logits=logits,
        frozen=frozen_bytes(model.backbone),
        sharded=is_sharded(model),
        half=any(halves),
    )


def work_models(clip):
    cases = {
        name: ([dict(type=name, **kwargs)], {})
        for name, kwargs in TUNERS.items()
    }
    cases.update({name: (tiny.ADAPTFORMER, way) for name, way in WAYS.items()})
    found = {}
    for name, (tuners, way) in cases.items():
        config = tiny.model_config(clip, tuners)
        config['backbone'].update(way)
        config['head']['loss']['class_counts'] = [6, 4, 2]
        found[name] = [two_steps(config, sharded) for sharded in (False, True)]
    return found


def settings(folder, root, clip, sharded=True, **kwargs):
    config = tiny.run_config(folder, tiny.model_config(clip), root)
    if sharded:
        config['runner_type'] = 'lift_mm.ShardedRunner'
    data = tiny.loader(tiny.dataset(root, train=False))
    config.update(
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=dict(type='lift_mm.LongTailMetric'),
        test_dataloader=data,
        test_cfg=dict(),
        test_evaluator=dict(type='lift_mm.LongTailMetric'),
    )
    config['default_hooks']['checkpoint'] = dict(
        type='CheckpointHook', interval=1
    )
    config.update(kwargs)
    return config


def start(config):
    config = Config(config)
    config.launcher = 'pytorch'
    compat.cpu_distributed(config)
    return tiny.runner(config.to_dict())


def train(config) -> dict:
    runner = start(config)
    runner.train()
    learned = learned_parameters(runner.model.module)
    return dict(
        learned={n: p.detach().clone() for n, p in learned.items()},
        sharded=is_sharded(runner.model),
        accuracy=float(runner.message_hub.log_scalars['val/lt/acc'].current()),
    )


def refusal(config, action) -> str:
    try:
        action(start(config))
    except ValueError as error:
        return str(error)
    return ''


def work(folder, root, clip):
    return dict(models=work_models(clip), runs=work_runs(folder, root, clip))


def work_runs(folder, root, clip):
    def make(name, **kwargs):
        return settings(f'{folder}/{name}', root, clip, **kwargs)

    found = {
        name: train(make(name, sharded=name == 'sharded'))
        for name in ('whole', 'sharded')
    }
    # Each continues what the other has begun.
    for first, second in (('whole', 'sharded'), ('sharded', 'whole')):
        cut = dict(load_from=f'{folder}/{first}/epoch_1.pth', resume=True)
        name = f'{first}-{second}'
        found[name] = train(make(name, sharded=second == 'sharded', **cut))
    last = f'{folder}/sharded/epoch_2.pth'
    test = start(make('test', load_from=last)).test()
    found['test'] = float(test['lt/acc'])

    hooks = make('x')['custom_hooks']
    model = tiny.model_config(clip)
    found['refusals'] = dict(
        ema=refusal(
            make('ema', custom_hooks=[*hooks, dict(type='EMAHook')]), str
        ),
        saving=refusal(make('saving', custom_hooks=hooks[:1]), str),
        wrapper=refusal(
            make(
                'wrapper',
                model_wrapper_cfg=dict(type='MMFullyShardedDataParallel'),
            ),
            str,
        ),
        compile=refusal(make('compile', model=dict(model, compile=True)), str),
        base=refusal(
            make('base', load_from=f'{folder}/base.pth'),
            lambda runner: runner.train(),
        ),
        merge=refusal(
            make(
                'merge',
                load_from=last,
                custom_hooks=[*hooks, dict(type='lift_mm.MergeHook')],
            ),
            lambda runner: runner.test(),
        ),
    )
    return found


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sharding')
    root = tiny.image_folder(folder / 'photos', (6, 4, 2))
    clip = tiny.clip_file(folder)
    whole = MODELS.build(tiny.model_config(clip))
    torch.save(dict(state_dict=whole.state_dict()), folder / 'base.pth')
    return str(folder), str(root), clip


@pytest.fixture(scope='module')
def ranks(place):
    return run_ranks(work, 2, *place)


@pytest.fixture(scope='module')
def models(ranks):
    return [found['models'] for found in ranks]


@pytest.fixture(scope='module')
def runs(ranks):
    return [found['runs'] for found in ranks]


@pytest.mark.parametrize('name', [*TUNERS, *WAYS])
def test_sharding_changes_no_bit(models, name):
    for found in models:
        whole, sharded = found[name]
        assert sharded['sharded'] and not whole['sharded']
        assert sharded['learned'].keys() == whole['learned'].keys()
        for key, value in whole['learned'].items():
            assert torch.equal(value, sharded['learned'][key]), key
        assert torch.equal(whole['logits'], sharded['logits'])


@pytest.mark.parametrize('name', [*TUNERS, *WAYS])
def test_each_process_holds_its_share(models, name):
    """Half of it; rows of odd numbers leave a little more."""
    for found in models:
        whole, sharded = found[name]
        assert sharded['frozen'] < 0.6 * whole['frozen']


def test_the_share_is_in_half_precision(models):
    half, full = (models[0][name][1] for name in ('half', 'plain'))
    assert half['half'] and not full['half']
    assert half['frozen'] < 0.6 * full['frozen']


@pytest.mark.parametrize('name', ['sharded', 'whole-sharded', 'sharded-whole'])
def test_a_sharded_run_ends_with_the_same_bits(runs, name):
    """And its checkpoint resumes without sharding, and the other way."""
    for found in runs:
        assert found[name]['sharded'] == name.endswith('sharded')
        assert found[name]['accuracy'] == found['whole']['accuracy']
        for key, value in found['whole']['learned'].items():
            assert torch.equal(value, found[name]['learned'][key]), key


def test_a_sharded_run_writes_the_same_checkpoint(runs, place):
    whole, sharded = (
        load_file(Path(place[0], name, 'epoch_2.pth'))
        for name in ('whole', 'sharded')
    )
    assert whole['state_dict'].keys() == sharded['state_dict'].keys()
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, sharded['state_dict'][key])
        assert type(sharded['state_dict'][key]) is torch.Tensor
    frozen = frozen_keys(MODELS.build(tiny.model_config(place[2])))
    assert not frozen & sharded['state_dict'].keys()


def test_a_sharded_model_is_tested(runs):
    for found in runs:
        assert found['test'] == found['sharded']['accuracy']


@pytest.mark.parametrize(
    'what, text',
    [
        ('ema', 'EMAHook copies the model'),
        ('saving', 'lift_mm.TunedCheckpointHook'),
        ('wrapper', 'drop `model_wrapper_cfg`'),
        ('compile', '`model.compile`'),
        ('base', '`model.backbone.backbone.pretrained`'),
        ('merge', '`--merge`'),
    ],
)
def test_what_needs_whole_weights_is_refused(runs, what, text):
    for found in runs:
        assert text in found['refusals'][what]


def test_one_process_has_nobody_to_share_with(place):
    with pytest.raises(ValueError, match='only one: .*`runner_type`'):
        tiny.runner(settings(place[0] + '/alone', *place[1:]))


def test_a_backbone_that_learns_is_refused(place):
    config = tiny.model_config(place[2])
    config['backbone'] = config['backbone']['backbone']
    with pytest.raises(ValueError, match='lift_mm.TunedBackbone'):
        shard(MODELS.build(config))


def test_an_init_of_unequal_batches_is_refused(place):
    config = tiny.model_config(
        place[2], init=dict(type='lift_mm.ClassMeanInit')
    )
    with pytest.raises(ValueError, match='ClassMeanInit .*SemanticInit'):
        shard(MODELS.build(config))


def test_an_old_torch_is_refused(place, monkeypatch):
    monkeypatch.setattr(
        'lift_mm.engine.sharding.fully_shard', lambda module: module
    )
    with pytest.raises(RuntimeError, match='2.7'):
        shard(MODELS.build(tiny.model_config(place[2])))
