"""Samplers that look at labels, for epoch-based training.

They go into ``train_dataloader.sampler`` in place of mmengine's
``DefaultSampler`` and share its conduct: one order of the whole epoch from
``seed + epoch``, dealt out to the ranks in turn.

mmengine's ``ClassBalancedDataset`` is another way, repeat factor sampling
(Gupta et al., "LVIS", CVPR 2019): a dataset wrapper that shows images of
classes below a frequency threshold several times, with ``DefaultSampler``
on top. mmpretrain's ``RepeatAugSampler`` repeats every image alike.
"""

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from lift_mm.registry import DATA_SAMPLERS

from .sampling import (
    Visit,
    class_aware_order,
    count_visits,
    down_order_lift,
    down_order_lift_plus,
    power_shares,
    progressive_shares,
    shared_order,
)


def class_labels(dataset) -> np.ndarray:
    """Give the label of each index of a dataset, through any wrapper.

    Args:
        dataset: One of mmpretrain, or a wrapper of mmengine or mmpretrain.

    Returns:
        Labels, shape ``(N,)``, int64.

    Raises:
        ValueError: The images have no labels, or not one each.
    """
    size = len(dataset)
    try:
        if hasattr(dataset, 'get_gt_labels'):
            # mmengine's `num_batch_per_epoch` shows only the first images.
            found = dataset.get_gt_labels()[:size]
        elif hasattr(dataset, 'get_data_info'):
            infos = (dataset.get_data_info(index) for index in range(size))
            found = [info['gt_label'] for info in infos]
        else:
            found = [dataset.get_cat_ids(index) for index in range(size)]
            found = np.array(found).reshape(size)
        labels = np.asarray(found)
    except (AttributeError, KeyError, ValueError) as error:
        raise ValueError(_no_labels(dataset)) from error
    if labels.shape != (size,) or labels.dtype.kind not in 'iu' or not size:
        raise ValueError(_no_labels(dataset))
    return labels.astype(np.int64)


class _LabelSampler(DefaultSampler):
    """An epoch's order from the labels; children define :meth:`_order`.

    Args:
        dataset: The training set.
        num_samples: Images of an epoch, all ranks together; None for as
            many as the dataset has.
        seed: Seed of the orders, the same on every rank; None for one drawn
            by the first rank.
        round_up: Repeat the first images of the order so that each rank
            gets equally many.
    """

    def __init__(
        self,
        dataset,
        num_samples: int | None = None,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        # Classes without an image drop out.
        _, self.labels = np.unique(class_labels(dataset), return_inverse=True)
        self.counts = np.bincount(self.labels)
        self.size = self._size(num_samples)
        super().__init__(range(self.size), seed=seed, round_up=round_up)

    def __iter__(self) -> Iterator[int]:
        """Iterate over this rank's indices of the epoch."""
        order = np.resize(self._order(), self.total_size)
        visits = count_visits(order)
        mine = slice(self.rank, None, self.world_size)
        pairs = zip(order[mine].tolist(), visits[mine].tolist(), strict=True)
        return (Visit(*pair) if pair[1] else pair[0] for pair in pairs)

    def _size(self, num_samples: int | None) -> int:
        if num_samples is None:
            return len(self.labels)
        return _positive(num_samples, 'num_samples')

    def _order(self) -> np.ndarray:
        """Give the epoch's indices of all ranks, shape ``(size,)``."""
        raise NotImplementedError

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + self.epoch)


@DATA_SAMPLERS.register_module()
class ClassAwareSampler(_LabelSampler):
    """Class-balanced sampling: all classes in turn, in an ever new order.

    Source: Shen et al., "Relay Backpropagation for Effective Learning of
    Deep Convolutional Neural Networks", ECCV 2016; with four images a visit
    as in LIFT's program. See
    :func:`~lift_mm.datasets.sampling.class_aware_order`.

    Args:
        dataset: The training set.
        samples_per_visit: Images in a row from one class.
        num_samples: Images of an epoch, all ranks together. None for as many
            as the dataset has, so that the schedule stays comparable;
            ``'oversample'`` for the number of classes times the size of the
            largest one, as in LIFT's program.
        **kwargs: ``seed`` and ``round_up``, as for mmengine's
            ``DefaultSampler``.
    """

    def __init__(
        self,
        dataset,
        samples_per_visit: int = 4,
        num_samples: int | str | None = None,
        **kwargs,
    ) -> None:
        self.samples_per_visit = _positive(
            samples_per_visit, 'samples_per_visit'
        )
        super().__init__(dataset, num_samples, **kwargs)

    def _size(self, num_samples: int | str | None) -> int:
        if num_samples == 'oversample':
            return int(self.counts.max()) * len(self.counts)
        return super()._size(num_samples)

    def _order(self) -> np.ndarray:
        return class_aware_order(
            self.labels, self.size, self.samples_per_visit, self._generator()
        )


@DATA_SAMPLERS.register_module()
class SquareRootSampler(_LabelSampler):
    """Square-root sampling: a class of ``n`` images by ``sqrt(n)``.

    Source: Kang et al., "Decoupling Representation and Classifier for
    Long-Tailed Recognition", ICLR 2020.

    Args:
        dataset: The training set.
        **kwargs: ``num_samples``, images of an epoch, all ranks together
            (as many as the dataset has); ``seed`` and ``round_up``, as for
            mmengine's ``DefaultSampler``.
    """

    def _order(self) -> np.ndarray:
        shares = power_shares(self.counts, 0.5)
        return shared_order(self.labels, shares, self.size, self._generator())


@DATA_SAMPLERS.register_module()
class ProgressivelyBalancedSampler(_LabelSampler):
    """Plain shuffling that turns class-balanced in the course of a training.

    Epoch ``t`` (from 0) of ``T`` takes ``1 - t / T`` of instance-balanced
    and ``t / T`` of class-balanced shares, so the first epoch shows each
    image once; after ``T`` epochs it stays class-balanced. Source: Kang et
    al., "Decoupling Representation and Classifier for Long-Tailed
    Recognition", ICLR 2020.

    Args:
        dataset: The training set.
        max_epochs: Epochs ``T`` of the training: ``train_cfg.max_epochs``.
        **kwargs: ``num_samples``, images of an epoch, all ranks together
            (as many as the dataset has); ``seed`` and ``round_up``, as for
            mmengine's ``DefaultSampler``.
    """

    def __init__(self, dataset, max_epochs: int, **kwargs) -> None:
        self.max_epochs = _positive(max_epochs, 'max_epochs')
        super().__init__(dataset, **kwargs)

    def _order(self) -> np.ndarray:
        progress = min(self.epoch / self.max_epochs, 1)
        shares = progressive_shares(self.counts, progress)
        return shared_order(self.labels, shares, self.size, self._generator())


@DATA_SAMPLERS.register_module()
class ClassDownSampler(_LabelSampler):
    """At most so many images of each class an epoch, others each time.

    Both rules give uniform draws. They differ in the random stream: with
    equal labels and seed, the first epoch has exactly the order of the
    published program. Later epochs start from ``seed + epoch`` instead of
    from where the one before has ended, so that a resumed training
    continues as if never interrupted.

    Args:
        dataset: The training set.
        max_per_class: Images of a class; one with fewer gives all.
        rule: ``'lift+'`` draws by torch, ``'lift'`` by Python's ``random``.
        seed: As for mmengine's ``DefaultSampler``.
        round_up: As for mmengine's ``DefaultSampler``.

    Raises:
        ValueError: ``rule`` or ``max_per_class`` is impossible.
    """

    def __init__(
        self,
        dataset,
        max_per_class: int,
        rule: str = 'lift+',
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        if rule not in ('lift', 'lift+'):
            raise ValueError(
                f"rule={rule!r} is unknown; it is 'lift' or 'lift+' (key "
                '`train_dataloader.sampler.rule`).'
            )
        self.rule = rule
        self.max_per_class = _positive(max_per_class, 'max_per_class')
        super().__init__(dataset, seed=seed, round_up=round_up)

    def _size(self, num_samples: None) -> int:
        return int(np.minimum(self.counts, self.max_per_class).sum())

    def _order(self) -> np.ndarray:
        if self.rule == 'lift':
            rng = random.Random(self.seed + self.epoch)
            return down_order_lift(self.labels, self.max_per_class, rng)
        return down_order_lift_plus(
            self.labels, self.max_per_class, self._generator()
        )


def _positive(value: int, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f'{key}={value!r} is no number of images or epochs; give a whole '
            f'number of at least 1 (key `train_dataloader.sampler.{key}`).'
        )
    if value < 1:
        raise ValueError(
            f'{key}={value} leaves nothing to train on; give a whole number '
            f'of at least 1 (key `train_dataloader.sampler.{key}`).'
        )
    return value


def _no_labels(dataset) -> str:
    return (
        f'{type(dataset).__name__} does not tell one label for each image, '
        'which this sampler needs; take a dataset with `get_gt_labels` or '
        "mmengine's `DefaultSampler` (key `train_dataloader.sampler`)."
    )
