"""Running accuracies while a model trains."""

import json

import pytest
import torch
from analysed_run import COUNTS, run_config
from mmengine.hooks import Hook
from ranks import run_ranks
from test_tuners import tiny_models

from lift_mm.engine import TrainAccuracyHook
from lift_mm.engine.train_accuracy_hook import RunningRecalls
from lift_mm.tuners import learned_parameters

CPU = torch.device('cpu')


def one_hot(labels, size):
    return torch.nn.functional.one_hot(torch.tensor(labels), size).float()


def followed(batches, size, momentum):
    """Follow the definition with loops: sums and weights of each mean."""
    means = [[0.0, 0.0] for _ in range(size + 1)]
    for predictions, labels in batches:
        for place in range(size + 1):
            own = [
                float(p == y)
                for p, y in zip(predictions, labels)
                if place in (y, size)
            ]
            if own:
                images = 1 if place == size else len(own)
                keep = momentum**images
                for part, new in ((0, sum(own) / len(own)), (1, 1.0)):
                    means[place][part] *= keep
                    means[place][part] += (1 - keep) * new
    return [100 * s / w if w else float('nan') for s, w in means]


@pytest.mark.parametrize('momentum', [0, 0.9])
@pytest.mark.parametrize('soft', [False, True])
def test_definition(momentum, soft):
    generator = torch.Generator().manual_seed(0)
    draw = torch.randint(0, 4, (6, 2, 8), generator=generator)
    meter = RunningRecalls(5, momentum, CPU)
    for predictions, labels in draw:
        logits = one_hot(predictions.tolist(), 5)
        targets = one_hot(labels.tolist(), 5) * 0.7 + 0.06
        meter.update(logits, targets if soft else labels)
    overall, recalls = meter.values()
    want = followed(draw.tolist(), 5, momentum)
    torch.testing.assert_close(
        torch.tensor([*recalls.tolist(), overall]),
        torch.tensor(want),
        equal_nan=True,
        atol=1e-3,
        rtol=0,
    )
    assert recalls[4].isnan()


def test_nothing_is_read_from_the_device(monkeypatch):
    """A tensor without data fails where a value would be asked for."""
    meta = torch.device('meta')
    meter = RunningRecalls(5, 0.9, meta)
    labels = torch.zeros(8, dtype=torch.long, device=meta)
    meter.update(torch.zeros(8, 5, device=meta), labels)


class Seen(Hook):
    """Keep what the head and its loss make of each batch."""

    def before_train(self, runner):
        self.batches = []
        loss = runner.model.head.loss_module
        loss.register_forward_pre_hook(
            lambda _, inputs: self.batches.append(
                (inputs[0].argmax(1).tolist(), inputs[1].tolist())
            )
        )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    seen, hook = Seen(), TrainAccuracyHook()
    config = run_config(folder)
    config['train_dataloader']['batch_size'] = 10
    runner = tiny_models.runner(config, hook, seen)
    runner.train()
    return folder, runner, seen, hook


def logged(folder):
    (path,) = (folder / 'run').glob('*/vis_data/scalars.json')
    entries = map(json.loads, path.read_text().splitlines())
    return [entry for entry in entries if 'loss' in entry]


def test_log_of_a_run(trained):
    folder, _, seen, hook = trained
    entries = logged(folder)
    assert [entry['step'] for entry in entries] == [3, 6, 9, 12, 15]
    groups = dict(many=[0], medium=[1], few=[2, 3, 4])
    assert COUNTS == [101, 30, 5, 4, 3]
    for entry in entries:
        *recalls, overall = followed(seen.batches[: entry['step']], 5, 0.9)
        assert entry['acc'] == pytest.approx(overall, abs=1e-2)
        for name, members in groups.items():
            own = [recalls[c] for c in members if recalls[c] == recalls[c]]
            key = f'acc_{name}'
            assert (key in entry) == bool(own)
            if own:
                mean = sum(own) / len(own)
                assert entry[key] == pytest.approx(mean, abs=1e-2)
    assert any('acc_few' in entry for entry in entries)
    # Nothing of it stays in the model.
    assert len(hook._groups) == 3 and hook.meter is None


def test_the_end_of_an_epoch_counts(trained):
    """143 images in batches of 10 and 3: LoggerHook skips the last one."""
    _, runner, seen, _ = trained
    *_, overall = followed(seen.batches, 5, 0.9)
    scalar = runner.message_hub.get_scalar('train/acc')
    assert scalar.current() == pytest.approx(overall, abs=1e-2)


def test_groups_of_the_validation(tmp_path):
    config = run_config(tmp_path)
    metric = dict(config['val_evaluator'], thresholds=(4, 5))
    config = config | dict(val_evaluator=metric)
    hook = TrainAccuracyHook(interval=1)
    runner = tiny_models.runner(config, hook)
    runner.train()
    groups = {k: v.tolist() for k, v in hook._groups.items()}
    assert groups == dict(many=[0, 1], medium=[2, 3], few=[4])


def test_weights_do_not_change(trained, tmp_path):
    config = run_config(tmp_path)
    config['train_dataloader']['batch_size'] = 10
    other = tiny_models.runner(config)
    other.train()
    want = learned_parameters(trained[1].model)
    assert want
    for key, value in learned_parameters(other.model).items():
        assert torch.equal(value, want[key])


def of_a_rank():
    rank = torch.distributed.get_rank()
    meter = RunningRecalls(3, 0.9, CPU)
    labels = [[0, 0], [1, 1]][rank]
    predictions = [[0, 1], [1, 1]][rank]
    meter.update(one_hot(predictions, 3), torch.tensor(labels))
    overall, recalls = meter.values()
    return [overall, *recalls[:2].tolist(), bool(recalls[2].isnan())]


def test_two_processes_share_what_they_saw():
    for found in run_ranks(of_a_rank, 2):
        assert found == pytest.approx([75, 50, 100, True])


@pytest.mark.parametrize(
    'options, key',
    [(dict(momentum=1.0), 'momentum=1.0'), (dict(interval=0), 'interval=0')],
)
def test_refused(options, key):
    with pytest.raises(ValueError, match=f'{key} .*`custom_hooks`'):
        TrainAccuracyHook(**options)
