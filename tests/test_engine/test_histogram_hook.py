"""What TensorBoard and Weights & Biases get of a run."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysed_run import run_config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import WandbVisBackend
from test_tuners import tiny_models

from lift_mm.engine import ParameterHistogramHook, TrainAccuracyHook
from lift_mm.tuners import learned_parameters


def visualizer(*kinds):
    backends = [dict(type=f'mmengine.{kind}') for kind in kinds]
    return dict(type='UniversalVisualizer', vis_backends=backends)


@pytest.fixture(scope='module')
def events(tmp_path_factory):
    """Train two epochs and read the event file of TensorBoard."""
    pytest.importorskip('tensorboard', reason='needs the extra `tensorboard`')
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    folder = tmp_path_factory.mktemp('events')
    config = run_config(
        folder,
        visualizer=visualizer('LocalVisBackend', 'TensorboardVisBackend'),
        train_cfg=dict(type='lift_mm.ResumableEpochLoop', max_epochs=2),
    )
    hooks = TrainAccuracyHook(), ParameterHistogramHook()
    runner = tiny_models.runner(config, *hooks)
    runner.train()
    runner.visualizer.close()
    (path,) = (folder / 'run').rglob('events.out*')
    found = EventAccumulator(str(path), dict(histograms=0, scalars=0))
    found.Reload()
    return found, runner


def test_scalars_of_tensorboard(events):
    found, runner = events
    scalars = set(found.Tags()['scalars'])
    trained = {'acc', 'acc_many', 'acc_medium', 'acc_few', 'loss', 'lr'}
    assert trained <= scalars
    validated = {'lt/acc', 'lt/acc_many', 'lt/acc_medium', 'lt/acc_few'}
    assert validated <= scalars
    assert len(found.Scalars('lt/acc_few')) == 2
    value = found.Scalars('acc')[-1].value
    buffer = runner.message_hub.get_scalar('train/acc').data[0]
    assert any(math.isclose(value, v, rel_tol=1e-5) for v in buffer)


def test_histograms_of_tensorboard(events):
    found, runner = events
    learned = learned_parameters(runner.model)
    assert learned
    assert found.Tags()['histograms'] == [f'learned/{k}' for k in learned]
    for name, value in learned.items():
        first, last = found.Histograms(f'learned/{name}')
        assert (first.step, last.step) == (9, 18)
        histogram = last.histogram_value
        assert histogram.num == value.numel()
        low, high = (f(value.detach()).item() for f in (torch.min, torch.max))
        assert histogram.min == pytest.approx(low, rel=1e-5)
        assert histogram.max == pytest.approx(high, rel=1e-5)


class RecordingWandb:
    """Stands for the module `wandb`: keeps what it is called with."""

    def __init__(self):
        self.logged = []

    def Histogram(self, values):
        assert isinstance(values, np.ndarray)
        return SimpleNamespace(values=values)

    def log(self, values, commit=True):
        self.logged.append(values)


@VISBACKENDS.register_module()
class RecordingWandbBackend(WandbVisBackend):
    def _init_env(self):
        self._wandb = RecordingWandb()

    def add_config(self, config, **kwargs):
        pass

    def close(self):
        pass


def test_wandb(tmp_path):
    config = run_config(
        tmp_path, visualizer=visualizer('RecordingWandbBackend')
    )
    hooks = TrainAccuracyHook(), ParameterHistogramHook()
    runner = tiny_models.runner(config, *hooks)
    runner.train()
    (backend,) = runner.visualizer._vis_backends.values()
    logged = {
        k: v for call in backend.experiment.logged for k, v in call.items()
    }
    keys = {'acc_many', 'acc_medium', 'acc_few', 'lt/acc_few', 'lt/acc_many'}
    assert keys <= logged.keys()
    for name, value in learned_parameters(runner.model).items():
        values = logged[f'learned/{name}'].values
        assert np.array_equal(values, value.detach().flatten().numpy())


def test_real_wandb_takes_them(tmp_path, monkeypatch):
    """Offline, in this process: no service is started for it."""
    wandb = pytest.importorskip('wandb', reason='needs the package wandb')
    values = torch.randn(50).numpy()
    histogram = wandb.Histogram(values)
    assert sum(histogram.histogram) == 50


@pytest.mark.parametrize(
    'epochs, interval, want', [(3, 2, [2, 3]), (2, 5, [2]), (2, 1, [1, 2])]
)
def test_interval(tmp_path, epochs, interval, want):
    config = run_config(
        tmp_path,
        visualizer=visualizer('RecordingWandbBackend'),
        train_cfg=dict(type='lift_mm.ResumableEpochLoop', max_epochs=epochs),
    )
    written = []
    hook = ParameterHistogramHook(interval)
    runner = tiny_models.runner(config, hook)
    hook.before_train(runner)
    (backend,) = runner.visualizer._vis_backends.values()
    hook._backends = [(backend, lambda *args: written.append(args[2]))]
    state = SimpleNamespace(max_epochs=epochs, model=runner.model)
    for epoch in range(epochs):
        state.epoch, state.iter = epoch, epoch + 1
        hook.after_train_epoch(state)
    assert written == want


def test_backends_without_histograms_are_named(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'lift_mm.engine.histogram_hook.print_log',
        lambda text, **_: said.append(text),
    )
    runner = tiny_models.runner(run_config(tmp_path))
    hook = ParameterHistogramHook()
    hook.before_train(runner)
    assert len(said) == 1 and 'in LocalVisBackend; ' in said[0]
    hook.after_train_epoch(SimpleNamespace(epoch=0, max_epochs=1))


def test_what_is_not_finite_is_left_out(tmp_path):
    config = run_config(
        tmp_path, visualizer=visualizer('RecordingWandbBackend')
    )
    hook = ParameterHistogramHook()
    runner = tiny_models.runner(config, hook)
    hook.before_train(runner)
    with torch.no_grad():
        head, *others = learned_parameters(runner.model).values()
        head.fill_(math.nan)
        others[0].view(-1)[0] = math.inf
    state = SimpleNamespace(epoch=0, iter=1, max_epochs=1, model=runner.model)
    hook.after_train_epoch(state)
    (backend,) = runner.visualizer._vis_backends.values()
    (call,) = backend.experiment.logged
    sizes = [len(histogram.values) for histogram in call.values()]
    assert sizes[0] == others[0].numel() - 1
    assert len(call) == len(others)


def test_refused():
    with pytest.raises(ValueError, match='interval=0 .*`custom_hooks`'):
        ParameterHistogramHook(0)
