"""Two and four processes train as one does, and none trains alone.

All runs of a world size share one start of its processes.
"""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from ranks import run_ranks
from test_tuners import tiny_models as tiny
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from lift_mm import compat
from lift_mm.evaluation import LongTailMetric  # noqa: F401, registers
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

COUNTS = (6, 4, 2)  # divides by two ranks and by four
# Gradients of ranks are averaged, those of a batch summed: another order of
# the same fp32 sums.
SUMS = dict(rtol=1e-5, atol=1e-6)


class Seen(Hook):
    """Remember what a rank trains on and how its model starts."""

    def __init__(self) -> None:
        self.images, self.steps, self.start, self.reduced = [], 0, {}, 0

    def before_train(self, runner) -> None:
        self.start = learned(runner.model)
        if hasattr(runner.model, 'register_comm_hook'):
            runner.model.register_comm_hook(None, self._reduce)
        step = runner.optim_wrapper.optimizer.step

        def counted(*args, **kwargs):
            self.steps += 1
            return step(*args, **kwargs)

        runner.optim_wrapper.optimizer.step = counted

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        samples = data_batch['data_samples']
        names = [Path(sample.img_path).stem for sample in samples]
        labels = [int(sample.gt_label) for sample in samples]
        self.images.append([f'{a}{b}' for a, b in zip(labels, names)])

    def _reduce(self, group, bucket):
        self.reduced += bucket.buffer().nbytes
        return default_hooks.allreduce_hook(group, bucket)


def learned(model) -> dict:
    model = getattr(model, 'module', model)
    return {
        name: value.detach().clone()
        for name, value in learned_parameters(model).items()
    }


def settings(folder, root, clip, batch, accumulate=1, images=None, **kwargs):
    """Give the config of a run of two epochs with a validation."""
    data = tiny.dataset(root, **({'indices': images} if images else {}))
    config = tiny.run_config(folder, tiny.model_config(clip), root)
    config['train_dataloader'] = dict(tiny.loader(data), batch_size=batch)
    if accumulate > 1:
        config['optim_wrapper']['accumulative_counts'] = accumulate
    config.update(
        val_dataloader=tiny.loader(
            tiny.dataset(root, train=False, indices=11)
        ),
        val_cfg=dict(),
        val_evaluator=dict(type='lift_mm.LongTailMetric'),
    )
    config['custom_hooks'].append(dict(type='lift_mm.RecordHook'))
    config['default_hooks']['checkpoint'] = dict(
        type='CheckpointHook', interval=2, by_epoch=False
    )
    config.update(kwargs)
    return config


def train(config) -> dict:
    """Train, in one process or as one of several; give what came of it."""
    config = Config(config)
    if torch.distributed.is_initialized():
        config.launcher = 'pytorch'
        compat.cpu_distributed(config)
    hook = Seen()
    runner = tiny.runner(config.to_dict(), hook)
    runner.train()
    return dict(
        start=hook.start,
        end=learned(runner.model),
        images=hook.images,
        steps=hook.steps,
        metrics={
            key: float(buffer.current())
            for key, buffer in runner.message_hub.log_scalars.items()
            if key.startswith('val/lt')
        },
        reduced=hook.reduced,
        unused=getattr(runner.model, 'find_unused_parameters', None),
        log_dir=runner.log_dir,
    )


RUNS = dict(
    plain=dict(batch=2),
    accumulated=dict(batch=1, accumulate=4),
    uneven=dict(batch=2, images=11),
)


def work_two(folder, root, clip):
    found = {
        name: train(settings(f'{folder}/{name}', root, clip, **kwargs))
        for name, kwargs in RUNS.items()
    }
    # Two of the three batches of the first epoch are trained.
    cut = dict(load_from=f'{folder}/plain/iter_2.pth', resume=True)
    found['resumed'] = train(
        settings(f'{folder}/resumed', root, clip, batch=2, **cut)
    )
    found['refusals'] = {
        name: refusal(folder, root, clip, name)
        for name in ('images', 'labels', 'names', 'base')
    }
    found['silence'] = give_up()  # last: the group is broken afterwards
    return found


def give_up(key='asked'):
    """Wait two seconds for rank 1, which is there and does not answer."""
    group = torch.distributed.new_group(timeout=timedelta(seconds=2))
    store = torch.distributed.distributed_c10d._get_default_store()
    if get_rank() == 1:
        store.wait([key])
        return ''
    try:
        torch.distributed.all_reduce(torch.ones(1), group=group)
    except RuntimeError as error:
        return str(error)
    finally:
        store.set(key, 'and given up')


def refusal(folder, root, clip, what):
    """Give rank 1 something else, and tell what is said of it."""
    other = get_rank() == 1
    config = settings(f'{folder}/{what}', root, clip, batch=2)
    data = config['train_dataloader']['dataset']
    if what == 'images' and other:
        data['indices'] = 11
    if what == 'labels' and other:
        data['indices'] = [*range(11), 10]
    if what == 'names' and other:
        for loader in ('train_dataloader', 'val_dataloader'):
            config[loader]['dataset']['classes'] = ['fox', 'owl', 'ox']
    if what == 'base' and other:
        config['model'] = tiny.model_config(clip.replace('clip0', 'clip1'))
    try:
        return dict(steps=train(config)['steps'])
    except ValueError as error:
        return str(error)


def work_four(folder, root, clip):
    return train(settings(f'{folder}/four', root, clip, batch=1))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    root = tiny.image_folder(folder / 'photos', COUNTS)
    tiny.clip_file(folder, 1)
    return str(folder), str(root), tiny.clip_file(folder, 0)


@pytest.fixture(scope='module')
def two(place):
    return run_ranks(work_two, 2, *place)


@pytest.fixture(scope='module')
def one(place):
    folder, root, clip = place
    runs = dict(
        plain=dict(batch=4),
        accumulated=dict(batch=2, accumulate=4),
        uneven=dict(batch=4, images=11),
    )
    return {
        name: train(settings(f'{folder}/one-{name}', root, clip, **kwargs))
        for name, kwargs in runs.items()
    }


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one
    )


@pytest.mark.parametrize('name', [*RUNS, 'resumed'])
def test_ranks_learn_the_same_bit_by_bit(two, name):
    first, second = (found[name] for found in two)
    assert equal(first['start'], second['start'])
    assert equal(first['end'], second['end'])
    assert not equal(first['start'], first['end'])


def test_only_what_learns_is_reduced(two):
    """And only when a step is made, not for each batch of its group."""
    for found in (two[0]['plain'], two[1]['accumulated']):
        size = sum(value.nbytes for value in found['end'].values())
        assert found['reduced'] == found['steps'] * size
        assert found['unused'] is False


@pytest.mark.parametrize('name', ['plain', 'accumulated'])
def test_two_ranks_learn_what_one_does_at_twice_the_batch(two, one, name):
    assert one[name]['steps'] == two[0][name]['steps']
    for batch, *parts in zip(
        one[name]['images'], two[0][name]['images'], two[1][name]['images']
    ):
        assert sorted(batch) == sorted(sum(parts, []))
    torch.testing.assert_close(two[0][name]['end'], one[name]['end'], **SUMS)


def test_a_short_group_of_batches_makes_a_step(two):
    """Six batches an epoch, four of them a step: two steps an epoch."""
    assert two[0]['accumulated']['steps'] == 4
    assert len(two[0]['accumulated']['images']) == 12


def test_an_uneven_end_repeats_the_first_images_of_the_epoch(two, one):
    for epoch in (0, 1):
        seen = [
            sum(found['uneven']['images'][3 * epoch : 3 * epoch + 3], [])
            for found in two
        ]
        order = sum(map(list, zip(*seen)), [])  # ranks take turns
        assert len(order) == 12 and order[11] == order[0]
        alone = sum(one['uneven']['images'][3 * epoch : 3 * epoch + 3], [])
        assert order[:11] == alone


def test_each_image_is_scored_once(two, one):
    """Eleven images for two ranks, two a batch."""
    for found in two:
        assert found['plain']['metrics'].keys() >= {'val/lt/acc'}
        for name, value in one['plain']['metrics'].items():
            # The weights differ by the order of sums.
            assert found['plain']['metrics'][name] == pytest.approx(
                value, rel=1e-4, abs=1e-4
            )


def test_resumed_ranks_end_with_the_same_bits(two):
    for found in two:
        assert equal(found['resumed']['end'], found['plain']['end'])
        assert found['resumed']['images'] == found['plain']['images'][2:]


@pytest.mark.parametrize(
    'what, text',
    [
        ('images', r'11 images of 3 .* instead of 12 .*`train_dataloader`'),
        ('labels', r'12 images of 3 .* instead of 12 .*`train_dataloader`'),
        ('names', r'Rank 1 has other data than rank 0.*`train_dataloader`'),
        ('base', r'Rank 1 has another base .*`model.backbone.backbone.pre'),
    ],
)
def test_a_rank_with_something_else_is_refused_by_all(two, what, text):
    first, second = (found['refusals'][what] for found in two)
    assert isinstance(first, str) and first == second
    assert re.search(text, first), first


def test_a_silent_rank_is_given_up(two):
    assert 'Timed out waiting 2000ms' in two[0]['silence']


def test_one_record_is_written(two):
    folder = Path(two[0]['plain']['log_dir'])
    record = json.loads((folder / 'record.json').read_text())
    assert record['processes'] == 2
    assert record['data']['train']['images'] == 12
    files = sorted(folder.parent.glob('*.pth'))
    assert len(files) == 3
    assert load_file(files[-1])['meta']['record'] == record


def test_four_ranks_learn_what_one_does(place, one):
    found = run_ranks(work_four, 4, *place)
    for other in found[1:]:
        assert equal(found[0]['end'], other['end'])
    torch.testing.assert_close(found[0]['end'], one['plain']['end'], **SUMS)
