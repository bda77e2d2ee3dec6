"""Several crops of one image, for test-time ensembling."""

import numbers
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from lift_mm.datasets.randomness import natural, seeded
from lift_mm.registry import TRANSFORMS

from .random_crop import RandomFlip, RandomResizedCrop, height_width


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Cut an image into several crops, for test-time ensembling (LIFT,
    section 4.4).

    It ends a ``tta_pipeline``: like mmcv's ``TestTimeAug`` it runs further
    transforms on each crop and gives lists over the crops, which
    :class:`mmengine.model.BaseTTAModel` takes apart again. ::

        tta_pipeline = [
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='ResizeEdge', scale=248, backend='pillow'),
            dict(type='lift_mm.MultiCrop', crop_size=224),
        ]

    The corner crops reach the ends of the image, also along its long side.
    The random crops are those of LIFT's training, a
    :class:`RandomResizedCrop` and a :class:`RandomFlip` each, of the image
    as it is: leave out ``ResizeEdge`` before them.

    Args:
        crop_size: Side of the crops in pixels, or (height, width).
        mode: ``'five'``: top left, top right, bottom left, bottom right,
            centre. ``'ten'``: these, and the same of the mirrored image.
            ``'random'``: ``num_crops`` random ones.
        num_crops: How many random crops.
        interpolation: How random crops are resized: ``'bilinear'`` (LIFT),
            ``'bicubic'``, ``'nearest'`` or ``'lanczos'``.
        seed: Seed of the random crops. An image (``sample_idx``, which
            every dataset gives) has the same ones whichever worker loads
            it, and whenever. Without ``sample_idx`` they come from torch's
            global stream.
        transforms: What to do with each crop. By default ``PackInputs``.

    Raises:
        ValueError: An argument is unknown or does not fit ``mode``, or an
            image is smaller than a corner crop.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int],
        mode: str = 'five',
        num_crops: int | None = None,
        interpolation: str = 'bilinear',
        seed: int = 0,
        transforms: Sequence = (dict(type='PackInputs'),),
    ) -> None:
        if mode not in ('five', 'ten', 'random'):
            raise ValueError(
                f'mode={mode!r} is unknown; `mode` of MultiCrop can be '
                "'five', 'ten' or 'random'."
            )
        if mode != 'random' and num_crops is not None:
            raise ValueError(
                f'num_crops={num_crops!r} does not fit mode={mode!r}, whose '
                'number is in its name; leave `num_crops` of MultiCrop out, '
                "or set mode='random'."
            )
        if mode == 'random' and not (
            isinstance(num_crops, numbers.Integral) and num_crops > 0
        ):
            raise ValueError(
                f'num_crops={num_crops!r} is no number of random crops; '
                '`num_crops` of MultiCrop can be a whole number above 0.'
            )
        self.crop_size = height_width(crop_size, 'crop_size')
        self.mode = mode
        self.num_crops = num_crops
        self.seed = natural(seed, 'seed')
        self.augment = Compose(
            [
                RandomResizedCrop(self.crop_size, interpolation=interpolation),
                RandomFlip(),
            ]
        )
        self.transforms = Compose(
            [
                MMPRETRAIN_TRANSFORMS.build(t) if isinstance(t, dict) else t
                for t in transforms
            ]
        )

    def transform(self, results: dict) -> dict:
        """Cut ``results['img']``, an array of shape (H, W) or (H, W, C).

        Args:
            results: What the pipeline has gathered so far.

        Returns:
            What ``transforms`` give, every value a list over the crops.
        """
        views = self._random if self.mode == 'random' else self._fixed
        crops = [
            self.transforms({**view, 'img_shape': self.crop_size})
            for view in views(results)
        ]
        return {key: [crop[key] for crop in crops] for key in crops[0]}

    def _random(self, results: dict) -> list[dict]:
        index = results.get('sample_idx')
        with nullcontext() if index is None else seeded(self.seed, index):
            return [self.augment(dict(results)) for _ in range(self.num_crops)]

    def _fixed(self, results: dict) -> list[dict]:
        image = results['img']
        views = [{**results, 'img': crop} for crop in self._five(image)]
        if self.mode == 'ten':
            mirrored = dict(results, flip=True, flip_direction='horizontal')
            views += [
                {**mirrored, 'img': crop}
                for crop in self._five(image[:, ::-1])
            ]
        return views

    def _five(self, image: np.ndarray) -> list[np.ndarray]:
        (high, wide), (h, w) = image.shape[:2], self.crop_size
        if high < h or wide < w:
            raise ValueError(
                f'An image of {high} x {wide} pixels (height x width) is '
                f'smaller than the crop of {h} x {w}; resize it to more '
                'before MultiCrop (`scale` of ResizeEdge).'
            )
        bottom, right = high - h, wide - w
        # Halves round to even, as in torchvision's centre crop.
        corners = [
            (0, 0),
            (0, right),
            (bottom, 0),
            (bottom, right),
            (round(bottom / 2), round(right / 2)),
        ]
        return [
            np.ascontiguousarray(image[top : top + h, left : left + w])
            for top, left in corners
        ]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(crop_size={self.crop_size}, '
            f'mode={self.mode!r}, num_crops={self.num_crops})'
        )
