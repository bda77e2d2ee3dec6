"""Transforms that MMPretrain lacks."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from lift_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Cut an image into its four corners and its centre, for test-time
    ensembling (LIFT, section 4.4).

    It ends a ``tta_pipeline``: like mmcv's ``TestTimeAug`` it runs further
    transforms on each crop and gives lists over the crops, which
    :class:`mmengine.model.BaseTTAModel` takes apart again. ::

        tta_pipeline = [
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='ResizeEdge', scale=248, backend='pillow'),
            dict(type='lift_mm.MultiCrop', crop_size=224),
        ]

    The corner crops reach the ends of the image, also along its long side.

    Args:
        crop_size: Side of the crops in pixels, or (height, width).
        mode: ``'five'``: top left, top right, bottom left, bottom right,
            centre. ``'ten'``: these, and the same of the mirrored image.
        transforms: What to do with each crop. By default ``PackInputs``.

    Raises:
        ValueError: ``mode`` is unknown, or an image is smaller than a crop.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int],
        mode: str = 'five',
        transforms: Sequence = (dict(type='PackInputs'),),
    ) -> None:
        if mode not in ('five', 'ten'):
            raise ValueError(
                f'mode={mode!r} is unknown; `mode` of MultiCrop can be '
                "'five' or 'ten'."
            )
        if isinstance(crop_size, int):
            crop_size = (crop_size, crop_size)
        self.crop_size = tuple(crop_size)
        self.mode = mode
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
        image = results['img']
        views = [(image, False)]
        if self.mode == 'ten':
            views.append((image[:, ::-1], True))
        crops = []
        for view, mirrored in views:
            sample = {**results, 'img_shape': self.crop_size}
            if mirrored:
                sample.update(flip=True, flip_direction='horizontal')
            for crop in self._five(view):
                crops.append(self.transforms({**sample, 'img': crop}))
        return {key: [crop[key] for crop in crops] for key in crops[0]}

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
            f'mode={self.mode!r})'
        )
