"""Histograms of what is learned, for TensorBoard and Weights & Biases."""

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.visualization import TensorboardVisBackend, WandbVisBackend
from torch import Tensor

from lift_mm.registry import HOOKS
from lift_mm.tuners import learned_parameters

from .unwrap import unwrap


def _to_tensorboard(
    backend: TensorboardVisBackend, values: dict[str, Tensor], step: int
) -> None:
    for name, value in values.items():
        backend.experiment.add_histogram(name, value, step)


def _to_wandb(
    backend: WandbVisBackend, values: dict[str, Tensor], step: int
) -> None:
    # mmengine leaves the counting of steps to wandb: so must this.
    wandb = backend.experiment
    wandb.log({k: wandb.Histogram(v.numpy()) for k, v in values.items()})


_WRITERS = {
    TensorboardVisBackend: _to_tensorboard,
    WandbVisBackend: _to_wandb,
}


@HOOKS.register_module()
class ParameterHistogramHook(Hook):
    """Write a histogram of each learned tensor after every few epochs.

    Goes to the ``vis_backends`` that know histograms, TensorBoard and Weights
    & Biases, under ``learned/<name of the tensor>``; others are named in the
    log and passed over.

    Args:
        interval: Epochs between two histograms.

    Raises:
        ValueError: ``interval`` is not positive.
    """

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(
                f'interval={interval} of ParameterHistogramHook must be a '
                'positive number of epochs (key `custom_hooks`).'
            )
        self.interval = interval
        self._backends: list[tuple] = []

    def before_train(self, runner: Runner) -> None:
        """See which backends know histograms, and name the others."""
        self._backends, others = [], []
        for backend in runner.visualizer._vis_backends.values():
            for kind, write in _WRITERS.items():
                if isinstance(backend, kind):
                    self._backends.append((backend, write))
                    break
            else:
                others.append(type(backend).__name__)
        if others:
            print_log(
                f'No histograms of parameters in {", ".join(others)}; '
                'TensorboardVisBackend and WandbVisBackend show them (key '
                '`vis_backends`).',
                logger='current',
            )

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Write them."""
        last = runner.epoch + 1 == runner.max_epochs
        due = last or self.every_n_epochs(runner, self.interval)
        if not due or not self._backends:
            return
        values = {}
        for name, value in learned_parameters(unwrap(runner.model)).items():
            value = value.detach().float().cpu().flatten()
            # Neither backend takes what is not finite.
            value = value[value.isfinite()]
            if len(value):
                values[f'learned/{name}'] = value
        for backend, write in self._backends:
            write(backend, values, runner.iter)
