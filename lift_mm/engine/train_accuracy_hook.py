"""Accuracy of the groups of classes while a model trains."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook, LoggerHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from lift_mm.evaluation import LongTailMetric, group_counts, shot_groups
from lift_mm.registry import HOOKS

from .class_info_hook import _dataset, class_info
from .unwrap import unwrap


class RunningRecalls:
    """Accuracy of each class over what it was shown last.

    An exponential mean: with k images of a class in a batch, its mean so far
    counts ``momentum ** k`` of what it did, however rare the class is. The
    first images of a class are not averaged with the zero it starts from.
    All of it stays on the device.

    Args:
        num_classes: C.
        momentum: How much of a mean one more image leaves, in 0..1.
        device: Where the logits are.
    """

    def __init__(
        self, num_classes: int, momentum: float, device: torch.device
    ) -> None:
        self.momentum = momentum
        self.size = num_classes
        # Of the classes and, last, of all images, where a batch counts one.
        self.sums = torch.zeros(num_classes + 1, device=device)
        self.weights = torch.zeros_like(self.sums)

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            logits: (B, C).
            labels: (B,), or shares of the classes (B, C), of which the
                largest counts.
        """
        if labels.ndim == 2:
            labels = labels.argmax(1)
        hits = (logits.argmax(1) == labels).to(self.sums)
        # Not bincount, which waits for the device to tell the largest label.
        images = torch.zeros_like(self.sums)
        images.index_add_(0, labels, torch.ones_like(hits))
        right = torch.zeros_like(self.sums).index_add_(0, labels, hits)
        images[-1], right[-1] = 1, hits.mean()
        keep = self.momentum**images
        self.sums.mul_(keep).add_((1 - keep) * right / images.clamp(min=1))
        self.weights.mul_(keep).add_(1 - keep)

    def values(self) -> tuple[float, Tensor]:
        """Give the accuracy of all images and of each class, in per cent.

        Processes are averaged, so that each of them must call it.

        Returns:
            The one of all, and (C,) on the CPU, NaN for classes not seen.
        """
        both = torch.stack([self.sums, self.weights])
        all_reduce(both)
        sums, weights = both.cpu()
        values = 100 * sums / weights
        return float(values[-1]), values[:-1]


@HOOKS.register_module()
class TrainAccuracyHook(Hook):
    """Log ``train/acc`` and ``acc_many``, ``acc_medium``, ``acc_few``.

    They are running means of the logits as the loss gets them, before its
    adjustment, on augmented images: a look at how training goes, and no
    measure of it. A group is the mean over those of its classes that have
    been seen. ``LoggerHook`` and every visualization backend get them, at the
    same iterations as the loss; the device is waited for only then. A resumed
    run starts them anew.

    Args:
        momentum: What one more image leaves of a class's mean, and one more
            batch of the mean of all.
        interval: Iterations between two logs; None is that of the run's
            ``LoggerHook``.

    Raises:
        ValueError: ``momentum`` is not in [0, 1), or ``interval`` not
            positive.
    """

    # After the loss is noted, before LoggerHook reads.
    priority = 'NORMAL'

    def __init__(
        self, momentum: float = 0.9, interval: int | None = None
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(
                f'momentum={momentum} of TrainAccuracyHook must be at least '
                '0 and below 1 (key `custom_hooks`).'
            )
        if interval is not None and interval < 1:
            raise ValueError(
                f'interval={interval} of TrainAccuracyHook must be a '
                'positive number of iterations (key `custom_hooks`).'
            )
        self.momentum = momentum
        self.interval = interval
        self.meter: RunningRecalls | None = None
        self._handle = None
        self._groups: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen to what the loss gets, and part the classes."""
        loss = getattr(
            getattr(unwrap(runner.model), 'head', None), 'loss_module', None
        )
        if not isinstance(loss, nn.Module):
            print_log(
                'No running accuracy: the model has no head with a loss of '
                'one label an image.',
                logger='current',
            )
            return
        self._handle = loss.register_forward_pre_hook(self._see)
        self._groups = _groups(runner)
        self._interval = self.interval or next(
            (h.interval for h in runner.hooks if isinstance(h, LoggerHook)),
            runner.max_iters,
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Hand the values to the message hub where they will be read."""
        due = self.every_n_inner_iters(
            batch_idx, self._interval
        ) or self.end_of_epoch(runner.train_dataloader, batch_idx)
        if self.meter is None or not due:
            return
        overall, recalls = self.meter.values()
        found = dict(acc=overall)
        for name, members in self._groups.items():
            found[f'acc_{name}'] = float(recalls[members].nanmean())
        for key, value in found.items():
            if value == value:  # no class of the group has been seen
                runner.message_hub.update_scalar(f'train/{key}', value)

    def after_train(self, runner: Runner) -> None:
        """Listen no longer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = self.meter = None

    def _see(self, loss: nn.Module, inputs: tuple) -> None:
        logits, labels, *_ = inputs
        if self.meter is None:
            size = logits.shape[1]
            self.meter = RunningRecalls(size, self.momentum, logits.device)
        self.meter.update(logits, labels)


def _groups(runner: Runner) -> dict[str, Tensor]:
    """Part the classes as the validation does, else by training counts."""
    _, counts = class_info(_dataset(runner._train_loop))
    if counts is None:
        return {}
    evaluator = getattr(runner._val_loop, 'evaluator', None)
    for metric in getattr(evaluator, 'metrics', []):
        if isinstance(metric, LongTailMetric):
            own = group_counts(metric.groups, counts)
            found = shot_groups(own, metric.thresholds)
            break
    else:
        found = shot_groups(counts)
    return {name: torch.from_numpy(members) for name, members in found.items()}
