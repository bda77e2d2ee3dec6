"""Minimalist data augmentation of LIFT+: ever larger square crops."""

import math
import numbers
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms.utils import cache_randomness

from lift_mm.datasets.randomness import SharedClock
from lift_mm.registry import TRANSFORMS

from .random_crop import RandomResizedCrop

SCHEDULES = {
    'min': lambda t: 0.0,
    'max': lambda t: 1.0,
    'linear': lambda t: t,
    'convex': lambda t: 1 - math.sqrt(1 - t**2),
    'concave': lambda t: math.sqrt(1 - (1 - t) ** 2),
}


def minimalist_min_area(
    epoch: int,
    max_epochs: int,
    schedule: str = 'convex',
    crop_ratio_range: Sequence[float] = (0.08, 1.0),
) -> float:
    """Give the smallest area that a crop may have in an epoch.

    With ``t = epoch / (max_epochs - 1)``, from 0 in the first epoch to 1 in
    the last, it moves from the lower end of the range to the upper one by
    the share 0 (``'min'``), 1 (``'max'``), t (``'linear'``), 1 - sqrt(1 - t^2)
    (``'convex'``) or sqrt(1 - (1 - t)^2) (``'concave'``).

    A single epoch has ``t = 0``: the most varied crops, as in the first of
    many. (LIFT+'s program divides by zero there.) Epochs beyond the last
    have ``t = 1``.

    Args:
        epoch: Epoch, counted from 0.
        max_epochs: Epochs from the smallest to the largest value.
        schedule: Name of the course between them.
        crop_ratio_range: Smallest and largest share of the image's area.

    Returns:
        A share of the image's area.
    """
    low, high = crop_ratio_range
    t = min(epoch / (max_epochs - 1), 1.0) if max_epochs > 1 else 0.0
    return low + SCHEDULES[schedule](t) * (high - low)


def minimalist_box(
    height: int,
    width: int,
    min_area: float,
    max_area: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[int, int, int, int]:
    """Draw a square in an image: its area first, then its row and column.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        min_area: Smallest share of the image's area. Both shares are cut to
            what the largest square in the image has.
        max_area: Largest share of the image's area.
        generator: Source of the three numbers, torch's global one by default.

    Returns:
        Top, left, height and width in pixels.
    """
    area, largest = height * width, min(height, width) ** 2
    share = torch.empty(1).uniform_(
        min(min_area, largest / area),
        min(max_area, largest / area),
        generator=generator,
    )
    # An image of a single pixel would be left with none.
    side = max(round(math.sqrt(share.item() * area)), 1)
    top, left = (
        torch.randint(0, end - side + 1, (1,), generator=generator).item()
        for end in (height, width)
    )
    return top, left, side, side


@TRANSFORMS.register_module()
class MinimalistRandomResizedCrop(RandomResizedCrop):
    """Crop a random square and resize it; the squares grow by the epoch.

    LIFT+'s only augmentation (section "Minimalist data augmentation"): no
    other aspect ratio, no flip. At first a crop has any area of
    ``crop_ratio_range``, in the last epoch it is the largest square in the
    image, at a random place along the long side.

    The epoch lies in shared memory, where persistent workers see it. It
    comes from ``lift_mm.ResumableEpochLoop``, or under mmengine's own loop by
    epochs from the hook ``lift_mm.DataEpochHook``; both reach any dataset,
    through dataset wrappers and nested transforms. Without a loop,
    :func:`lift_mm.datasets.begin_epoch` sets it.

    Args:
        scale: Side of the result in pixels, or (height, width).
        crop_ratio_range: Smallest and largest share of the image's area.
        schedule: How the smallest area grows: ``'convex'`` (slowly, then
            fast), ``'linear'``, ``'concave'``, or not at all, ``'min'`` and
            ``'max'``. See :func:`minimalist_min_area`.
        max_epochs: Epochs until the last, largest crops; by default those of
            the run. In a longer run the crops stay as in that last epoch.
        interpolation: As for :class:`RandomResizedCrop`.
        backend: ``'pillow'``, which gives the published pixels, or
            ``'cv2'``.

    Raises:
        ValueError: An argument is out of range, or an image comes before
            anybody has told the epoch.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        crop_ratio_range: Sequence[float] = (0.08, 1.0),
        schedule: str = 'convex',
        max_epochs: int | None = None,
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> None:
        if schedule not in SCHEDULES:
            raise ValueError(
                f'schedule={schedule!r} is unknown; `schedule` of '
                f'{type(self).__name__} can be one of {list(SCHEDULES)}.'
            )
        if max_epochs is not None and not (
            isinstance(max_epochs, numbers.Integral) and max_epochs > 0
        ):
            raise ValueError(
                f'max_epochs={max_epochs!r} is no number of epochs; '
                f'`max_epochs` of {type(self).__name__} can be a whole number '
                "above 0, or None for the run's own."
            )
        super().__init__(
            scale,
            crop_ratio_range,
            interpolation=interpolation,
            backend=backend,
        )
        self.schedule = schedule
        self.max_epochs = max_epochs
        self.clock = SharedClock()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch (counted from 0), also for running workers.

        Args:
            epoch: Counted from 0.
        """
        self.clock.epoch = epoch

    def set_max_epochs(self, max_epochs: int) -> None:
        """Say how many epochs the run has, also to running workers.

        Args:
            max_epochs: Epochs of the whole run.
        """
        self.clock.max_epochs = max_epochs

    def min_area(self) -> float:
        """Give the smallest share of an image's area in this epoch.

        Raises:
            ValueError: Nobody has told the epoch.
        """
        epoch = self.clock.epoch
        max_epochs = self.max_epochs or self.clock.max_epochs
        if epoch < 0 or max_epochs < 1:
            raise ValueError(
                f'The crops of {type(self).__name__} depend on the epoch, '
                'but nobody has told it; train with '
                "`train_cfg=dict(type='lift_mm.ResumableEpochLoop', "
                "max_epochs=...)` or add `dict(type='lift_mm.DataEpochHook')` "
                'to `custom_hooks`.'
            )
        return minimalist_min_area(
            epoch, max_epochs, self.schedule, self.crop_ratio_range
        )

    @cache_randomness
    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """Draw a box: top, left, height and width in pixels."""
        height, width = img.shape[:2]
        return minimalist_box(
            height, width, self.min_area(), self.crop_ratio_range[1]
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, '
            f'crop_ratio_range={self.crop_ratio_range}, '
            f'schedule={self.schedule!r}, max_epochs={self.max_epochs}, '
            f'interpolation={self.interpolation!r}, '
            f'backend={self.backend!r})'
        )
