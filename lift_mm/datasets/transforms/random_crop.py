"""MMPretrain's random crop and flip with the random numbers of torchvision.

Torchvision's own transforms give the same pixels through
``torchvision/RandomResizedCrop``, but turn the whole image into a Pillow image
first, a third slower, and do not say in the results what they did.
"""

import numbers
from collections.abc import Sequence

import numpy as np
import torch
import torchvision
from mmcv.transforms import RandomFlip as _RandomFlip
from mmcv.transforms.utils import cache_randomness
from mmpretrain.datasets import RandomResizedCrop as _RandomResizedCrop

from lift_mm.datasets.decoding import mirror
from lift_mm.registry import TRANSFORMS

_INTERPOLATIONS = {
    'pillow': ('nearest', 'bilinear', 'bicubic', 'lanczos'),
    'cv2': ('nearest', 'bilinear', 'bicubic', 'lanczos', 'area'),
}


def height_width(size: int | Sequence[int], key: str) -> tuple[int, int]:
    """Read the side of a square, or a height and a width.

    Args:
        size: Pixels, at least 1.
        key: Config key that the size comes from, for the message.

    Returns:
        (height, width).

    Raises:
        ValueError: It is neither one whole number above 0 nor two.
    """
    pair = (size, size) if isinstance(size, numbers.Integral) else size
    if (
        isinstance(pair, str)
        or not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(isinstance(n, numbers.Integral) and n > 0 for n in pair)
        or any(isinstance(n, bool) for n in pair)
    ):
        raise ValueError(
            f'{key}={size!r} is no size in pixels; `{key}` can be a whole '
            'number above 0, or two of them: (height, width).'
        )
    return int(pair[0]), int(pair[1])


@TRANSFORMS.register_module()
class RandomResizedCrop(_RandomResizedCrop):
    """Crop a random part of random shape and resize it, as torchvision does.

    It is :class:`mmpretrain.datasets.RandomResizedCrop` whose random numbers
    come from torch's global stream in torchvision's order, so that LIFT's
    training crops are met to the pixel. It is as quick.

    Args:
        scale: Side of the result in pixels, or (height, width).
        crop_ratio_range: Smallest and largest share of the image's area.
        aspect_ratio_range: Narrowest and widest width over height.
        interpolation: ``'bilinear'`` (LIFT), ``'bicubic'`` (LIFT+),
            ``'nearest'``, ``'lanczos'``; ``'area'`` with OpenCV.
        backend: ``'pillow'``, which gives the published pixels, or
            ``'cv2'``.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        crop_ratio_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
        backend: str = 'pillow',
    ) -> None:
        for key, pair, top in (
            ('crop_ratio_range', crop_ratio_range, 1),
            ('aspect_ratio_range', aspect_ratio_range, float('inf')),
        ):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= top:
                raise ValueError(
                    f'{key}={pair!r} is no range; `{key}` of '
                    f'{type(self).__name__} can be two numbers above 0, the '
                    f'smaller one first{" and 1 at most" if top == 1 else ""}.'
                )
        if interpolation not in _INTERPOLATIONS.get(backend, ()):
            raise ValueError(
                f'interpolation={interpolation!r} with backend={backend!r} '
                f'is unknown; `interpolation` and `backend` of '
                f'{type(self).__name__} can be {_INTERPOLATIONS}.'
            )
        super().__init__(
            height_width(scale, 'scale'),
            crop_ratio_range=tuple(crop_ratio_range),
            aspect_ratio_range=tuple(aspect_ratio_range),
            interpolation=interpolation,
            backend=backend,
        )

    @cache_randomness
    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """Draw a box: top, left, height and width in pixels."""
        return torchvision.transforms.RandomResizedCrop.get_params(
            torch.empty(img.shape[:2], device='meta'),  # only its size counts
            self.crop_ratio_range,
            self.aspect_ratio_range,
        )


@TRANSFORMS.register_module()
class RandomFlip(_RandomFlip):
    """Mirror an image left to right at random, as torchvision does.

    It is mmcv's ``RandomFlip`` with one number from torch's global stream.

    Args:
        prob: How often, between 0 and 1.

    Raises:
        ValueError: ``prob`` is not between 0 and 1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(
                f'prob={prob} is no probability; `prob` of RandomFlip can be '
                'between 0 and 1.'
            )
        super().__init__(float(prob), 'horizontal')

    @cache_randomness
    def _choose_direction(self) -> str | None:
        return self.direction if torch.rand(1) < self.prob else None

    def _flip(self, results: dict) -> None:
        image = results['img']
        if image.ndim == 1:
            return  # a JPEG file, mirrored where it is decoded
        super()._flip(results)
        results['img'] = mirror(image)
