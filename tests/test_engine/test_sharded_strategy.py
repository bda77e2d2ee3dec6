"""A FlexibleRunner learns what a runner does, and refuses what it must."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from ranks import run_ranks
from test_tuners import tiny_models as tiny

from lift_mm import compat
from lift_mm.engine.sharding import is_sharded
from lift_mm.registry import MODELS
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

FLEXIBLE = dict(
    runner_type='FlexibleRunner',
    strategy=dict(type='lift_mm.ShardedStrategy'),
)
WAYS = dict(
    whole=dict(),
    sharded=dict(runner_type='lift_mm.ShardedRunner'),
    flexible=FLEXIBLE,
)
# What every recipe has.
HOOKS = [
    dict(type=f'lift_mm.{name}')
    for name in (
        'ResumeHook',
        'RecordHook',
        'ClassInfoHook',
        'TunedCheckpointHook',
        'ProtocolHook',
        'FiniteHook',
        'StopHook',
    )
]


class Kill(Hook):
    """Ask one process to stop, in the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 3 and runner.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def without(name: str) -> list[dict]:
    return [hook for hook in HOOKS if hook['type'] != f'lift_mm.{name}']


def settings(folder, root, clip, way, **kwargs):
    names = dict(type='lift_mm.SemanticInit', pretrained=clip, arch=tiny.ARCH)
    config = tiny.run_config(
        folder, tiny.model_config(clip, init=names), root, custom_hooks=HOOKS
    )
    data = tiny.loader(tiny.dataset(root, train=False))
    metric = dict(type='lift_mm.LongTailMetric')
    config.update(
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=metric,
        test_dataloader=data,
        test_cfg=dict(),
        test_evaluator=metric,
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
    )
    config['default_hooks']['checkpoint'] = dict(
        type='lift_mm.CheckpointHook', interval=1
    )
    config['optim_wrapper']['accumulative_counts'] = 2
    config['auto_scale_lr'] = dict(enable=True, base_batch_size=4)
    config.update(WAYS[way])
    config.update(kwargs)
    return config


def start(config, *hooks):
    config = Config(config)
    config.launcher = 'pytorch'
    compat.cpu_distributed(config)
    return tiny.runner(config.to_dict(), *hooks)


def train(config) -> dict:
    runner = start(config)
    runner.train()
    learned = learned_parameters(runner.model.module)
    return dict(
        learned={n: p.detach().clone() for n, p in learned.items()},
        sharded=is_sharded(runner.model),
        accuracy=float(runner.message_hub.log_scalars['val/lt/acc'].current()),
        rate=runner.optim_wrapper.get_lr()['lr'],
    )


def refusal(config, action=lambda runner: runner.train()) -> str:
    try:
        action(start(config))
    except (ValueError, FloatingPointError) as error:
        return str(error)
    return ''


def work(folder, root, clip):
    def make(name, way='flexible', **kwargs):
        return settings(f'{folder}/{name}', root, clip, way, **kwargs)

    found = {way: train(make(way, way, auto_scale_lr=None)) for way in WAYS}
    # Each continues what the other has begun.
    for first, second in (
        ('sharded', 'flexible'),
        ('flexible', 'sharded'),
        ('flexible', 'whole'),
    ):
        cut = dict(
            load_from=f'{folder}/{first}/epoch_1.pth',
            resume=True,
            auto_scale_lr=None,
        )
        name = f'{first}-{second}'
        found[name] = train(make(name, second, **cut))
    # The newest has no name: last_checkpoint is not there.
    if int(os.environ['RANK']) == 0:
        os.mkdir(f'{folder}/lost')
        shutil.copy(f'{folder}/flexible/epoch_1.pth', f'{folder}/lost')
    torch.distributed.barrier()
    onward = dict(resume=True, auto_scale_lr=None)
    found['lost'] = train(make('lost', **onward))
    try:
        start(make('stopped', auto_scale_lr=None), Kill()).train()
    except SystemExit as end:
        found['code'] = end.code
    found['halted'] = os.path.exists(f'{folder}/stopped/stopped.pth')
    found['stopped'] = train(make('stopped', **onward))
    found['scaled'] = train(make('scaled'))['rate']

    last = f'{folder}/flexible/epoch_2.pth'
    found['test'] = float(start(make('test', load_from=last)).test()['lt/acc'])
    model = make('x')['model']
    custom = dict(
        ema=[*HOOKS, dict(type='EMAHook')],
        saving=without('TunedCheckpointHook'),
        unstarted=without('ClassInfoHook'),
    )
    found['refusals'] = {
        name: refusal(make(name, custom_hooks=hooks))
        for name, hooks in custom.items()
    }
    optimizer = dict(make('x')['optim_wrapper']['optimizer'], lr=1e38)
    found['refusals'].update(
        nan=refusal(make('nan', optim_wrapper=dict(optimizer=optimizer))),
        classes=refusal(
            settings(
                f'{folder}/classes',
                f'{folder}/zoo',
                clip,
                'flexible',
                load_from=last,
            )
        ),
        stock=refusal(make('stock', strategy=dict(type='DDPStrategy'))),
        wrapper=refusal(
            make(
                'wrapper',
                strategy=dict(
                    FLEXIBLE['strategy'],
                    model_wrapper=dict(type='MMFullyShardedDataParallel'),
                ),
            ),
            str,
        ),
        compile=refusal(make('compile', model=dict(model, compile=True))),
        base=refusal(make('base', load_from=f'{folder}/base.pth')),
        torn=refusal(make('torn', resume=True)),
        merge=refusal(
            make(
                'merge',
                load_from=last,
                custom_hooks=[*HOOKS, dict(type='lift_mm.MergeHook')],
            ),
            lambda runner: runner.test(),
        ),
    )
    return found


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('strategy')
    root = tiny.image_folder(folder / 'photos', (6, 4, 2))
    shutil.copytree(root, folder / 'zoo')
    (folder / 'zoo' / 'yak').rename(folder / 'zoo' / 'zebu')
    clip = tiny.clip_file(folder)
    whole = MODELS.build(tiny.model_config(clip))
    torch.save(dict(state_dict=whole.state_dict()), folder / 'base.pth')
    (folder / 'torn').mkdir()
    torn = folder / 'torn' / 'epoch_1.pth'
    torn.write_bytes((folder / 'base.pth').read_bytes()[:-100])
    (folder / 'torn' / 'last_checkpoint').write_text(str(torn))
    return str(folder), str(root), clip


@pytest.fixture(scope='module')
def ranks(place):
    return run_ranks(work, 2, *place)


RESUMED = [
    'sharded-flexible',
    'flexible-sharded',
    'flexible-whole',
    'lost',
    'stopped',
]


@pytest.mark.parametrize('name', ['sharded', 'flexible', *RESUMED])
def test_every_runner_ends_with_the_same_bits(ranks, name):
    """And each goes on from the checkpoint of the other."""
    for found in ranks:
        assert found[name]['sharded'] != name.endswith('whole')
        assert found[name]['accuracy'] == found['whole']['accuracy']
        for key, value in found['whole']['learned'].items():
            assert torch.equal(value, found[name]['learned'][key]), key


@pytest.mark.parametrize('name', RESUMED)
def test_what_is_resumed_is_not_trained_again(ranks, place, name):
    first = Path(place[0], name, 'epoch_1.pth')
    if name == 'lost':
        source = Path(place[0], 'flexible', 'epoch_1.pth')
        assert first.read_bytes() == source.read_bytes()
    elif name != 'stopped':
        assert not first.exists()


def test_all_processes_stop_when_one_is_asked_to(ranks, place):
    for found in ranks:
        assert found['halted'] and found['code'] == 128 + signal.SIGTERM


def test_a_flexible_runner_writes_the_same_checkpoint(ranks, place):
    whole, flexible = (
        load_file(Path(place[0], name, 'epoch_2.pth'))
        for name in ('whole', 'flexible')
    )
    assert whole.keys() == flexible.keys()
    assert whole['meta'].keys() == flexible['meta'].keys()
    assert whole['meta']['record'] == flexible['meta']['record']
    assert whole['state_dict'].keys() == flexible['state_dict'].keys()
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, flexible['state_dict'][key]), key


def test_its_checkpoints_are_written_whole(ranks, place):
    """Sealed, which the plain way of mmengine's strategies is not."""
    data = Path(place[0], 'flexible', 'epoch_2.pth').read_bytes()
    assert b'lift_mm sha256' in data[-100:]


def test_the_learning_rate_counts_accumulated_batches(ranks):
    """Two images in two processes, twice: as twice the base batch size."""
    for found in ranks:
        whole, scaled = found['flexible']['rate'][0], found['scaled'][0]
        assert scaled == pytest.approx(2 * whole)


def test_a_flexible_runner_tests(ranks):
    for found in ranks:
        assert found['test'] == found['flexible']['accuracy']


@pytest.mark.parametrize(
    'what, text',
    [
        ('ema', 'EMAHook copies the model'),
        ('saving', 'lift_mm.TunedCheckpointHook'),
        ('unstarted', 'Nothing has started .*lift_mm.ClassInfoHook'),
        ('nan', 'not finite'),
        ('classes', 'other classes|class names'),
        ('stock', 'DDPStrategy starts the model .*lift_mm.ShardedStrategy'),
        ('wrapper', 'drop `strategy.model_wrapper`'),
        ('compile', '`model.compile`'),
        ('base', '`model.backbone.backbone.pretrained`'),
        ('torn', 'epoch_1.pth" cannot be read'),
        ('merge', '`--merge`'),
    ],
)
def test_what_cannot_work_is_refused(ranks, what, text):
    for found in ranks:
        message = found['refusals'][what]
        assert re.search(text, message), message


def test_one_process_has_nobody_to_share_with(place):
    config = settings(place[0] + '/alone', *place[1:], 'flexible')
    with pytest.raises(ValueError, match='only one: .*`runner_type`'):
        tiny.runner(config)


def test_a_strategy_for_one_process_is_refused(place):
    """Before the model is built; the ordinary runner does the same."""
    config = settings(
        place[0] + '/single',
        *place[1:],
        'flexible',
        strategy=dict(type='SingleDeviceStrategy'),
    )
    with pytest.raises(ValueError, match='SingleDevice.*`runner_type`'):
        tiny.runner(config).train()
