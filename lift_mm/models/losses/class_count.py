"""Losses that depend on how many training images each class has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import LongTailLoss


class ClassCountLoss(LongTailLoss):
    """A loss with one number a class, derived from the training counts.

    A subclass says what is derived, and calls :meth:`take` when its own
    settings are known. Without counts in the config, ``ClassInfoHook`` fills
    in those of the training set.

    Args:
        reduction: See :class:`LongTailLoss`.
        loss_weight: Factor of the loss.
    """

    #: Name of the buffer (C,) with what is derived.
    statistic: str

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__(reduction, loss_weight)
        self.given = False
        # Known from the dataset whenever it is needed: not in checkpoints.
        self.register_buffer(self.statistic, None, persistent=False)

    def derive(self, counts: Tensor) -> Tensor:
        """Derive the number of each class, (C,) -> (C,), in float64.

        Args:
            counts: Training images, or shares of them, all positive.
        """
        raise NotImplementedError

    def take(
        self,
        class_counts: Sequence[int] | None,
        prior: Sequence[float] | None = None,
    ) -> None:
        """Take what the config gives; it goes before the dataset's counts.

        Args:
            class_counts: Training images of each class, (C,).
            prior: Shares of the classes instead, (C,); they are normalised.

        Raises:
            ValueError: Both are given, or one is no list of positive numbers.
        """
        if class_counts is not None and prior is not None:
            raise ValueError(
                f'{type(self).__name__} has both class_counts and prior; '
                'give one of them (keys `model.head.loss.class_counts` and '
                '`model.head.loss.prior`).'
            )
        if class_counts is not None:
            self._set('class_counts', class_counts)
        if prior is not None:
            self._set('prior', prior)
        self.given = getattr(self, self.statistic) is not None

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Take the training counts of the dataset, unless a config gave some.

        Args:
            names: Names of the C classes, by label.
            counts: Training images of each, (C,), if known.

        Raises:
            ValueError: A class has no image; it is named. Or the config gave
                numbers for more or fewer classes.
        """
        if self.given:
            self._check_size(len(names), 'dataset has', 'classes')
            return
        if counts is None:
            return
        empty = [name for name, n in zip(names, counts) if n == 0]
        if empty:
            raise ValueError(
                f'{len(empty)} classes have no training image, first '
                f'{empty[0]!r}: their prior is zero and '
                f'{type(self).__name__} infinite; drop them, or give '
                '`model.head.loss.class_counts`.'
            )
        self._set('class_counts', counts)

    def per_class(self, logits: Tensor) -> Tensor:
        """Give what was derived for each class, (C,), beside the logits.

        Args:
            logits: (B, C), for size and device.

        Raises:
            ValueError: The class counts are unknown or do not fit.
        """
        size = logits.shape[1]
        found = getattr(self, self.statistic)
        if found is None:
            raise ValueError(
                f'{type(self).__name__} needs {size} class counts and has '
                "none: keep dict(type='lift_mm.ClassInfoHook') in "
                '`custom_hooks`, or give `model.head.loss.class_counts`.'
            )
        self._check_size(size, 'head gives', 'logits')
        return found.to(logits.device)

    def _check_size(self, size: int, who: str, what: str) -> None:
        known = len(getattr(self, self.statistic))
        if known != size:
            raise ValueError(
                f'The {who} {size} {what} and {type(self).__name__} knows '
                f'{known} classes; they must agree (keys '
                '`model.head.num_classes` and '
                '`model.head.loss.class_counts`).'
            )

    def _set(self, key: str, values: Sequence[float]) -> None:
        try:
            counts = torch.as_tensor(list(values), dtype=torch.float64)
        except (TypeError, ValueError):
            counts = torch.zeros(())
        if counts.ndim != 1 or not len(counts):
            seen = f'is {values!r}'
        else:
            fit = (counts > 0) & counts.isfinite()
            wrong = (~fit).nonzero().flatten().tolist()
            seen = wrong and f'has {counts[wrong[0]]:g} for label {wrong[0]}'
        if seen:
            raise ValueError(
                f'{key} of {type(self).__name__} must be one positive number '
                f'a class and {seen} (key `model.head.loss.{key}`).'
            )
        new = self.derive(counts).float()
        old = getattr(self, self.statistic)
        setattr(
            self, self.statistic, new if old is None else new.to(old.device)
        )
