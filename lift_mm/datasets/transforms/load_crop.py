"""Decoding, cropping and resizing in one step."""

from io import BytesIO
from numbers import Real
from types import SimpleNamespace

import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmpretrain.datasets import RandomResizedCrop as _RandomResizedCrop
from PIL import Image

from lift_mm.datasets.decoding import (
    decode_jpeg,
    has_end,
    is_plain_jpeg,
    planes,
    read,
    resize,
    to_array,
    to_rgb,
    turn,
)
from lift_mm.datasets.image_modes import open_image
from lift_mm.registry import TRANSFORMS

MODES = ('exact', 'tensor', 'fast', 'device')
COLOR_TYPES = ('color', 'color_ignore_orientation')


@TRANSFORMS.register_module()
class LoadCrop(BaseTransform):
    """Read an image file, and crop and resize it at once.

    It is mmcv's ``LoadImageFromFile`` and a random crop in one, without the
    copies between them. ::

        train_pipeline = [
            dict(
                type='lift_mm.LoadCrop',
                crop=dict(type='lift_mm.RandomResizedCrop', scale=224),
            ),
            dict(type='lift_mm.RandomFlip'),
            dict(type='PackInputs'),
        ]

    The crop draws the same boxes from the same random numbers in all modes:

    - ``'exact'``: the published pixels, those of Pillow.
    - ``'tensor'``: within 1 of 255 on average. JPEGs are decoded by OpenCV,
      and all is resized by torch's vectorised code.
    - ``'fast'``: JPEGs are decoded at a half, a quarter or an eighth of
      their width and height if what the crop keeps is enough, see
      ``min_detail``; else as ``'tensor'``, as are other files.
    - ``'device'``: JPEGs are handed on as they are, and
      ``lift_mm.JPEGDataPreprocessor`` decodes them where the model is. Other
      files, JPEGs for printers and those that have to be turned are decoded
      here, as in ``'tensor'``.

    The channels are blue, green, red in every mode, as mmcv loads them: the
    data preprocessor needs ``to_rgb=True``.

    Args:
        crop: A ``lift_mm.RandomResizedCrop``, a
            ``lift_mm.MinimalistRandomResizedCrop`` or mmpretrain's own, with
            Pillow as its ``backend``. It gives box, size and interpolation.
        mode: One of those above.
        fast: Another way to say ``mode='fast'``.
        min_detail: How many pixels a crop decoded at a reduced scale has at
            least for each pixel of the result, along each side: 1 enlarges
            no crop that was large enough, 0.5 at most to double its size.
        color_type: ``'color'`` turns images as their orientation tags say,
            ``'color_ignore_orientation'`` does not.
        backend_args: Where files are, for mmengine's ``fileio``.

    Raises:
        TypeError: ``crop`` is no random crop.
        ValueError: An argument is unknown or does not fit ``mode``.
    """

    def __init__(
        self,
        crop: dict,
        mode: str = 'exact',
        fast: bool = False,
        min_detail: float = 0.5,
        color_type: str = 'color',
        backend_args: dict | None = None,
    ) -> None:
        if mode not in MODES or (fast and mode not in ('exact', 'fast')):
            raise ValueError(
                f'mode={mode!r} with fast={fast} is unknown; `mode` of '
                f'LoadCrop can be one of {MODES}, and `fast=True` means '
                "'fast'."
            )
        if not isinstance(min_detail, Real) or not 0 < min_detail <= 1:
            raise ValueError(
                f'min_detail={min_detail!r} is no share; `min_detail` of '
                'LoadCrop can be above 0 and 1 at most.'
            )
        if color_type not in COLOR_TYPES:
            raise ValueError(
                f'color_type={color_type!r} is unknown; `color_type` of '
                f'LoadCrop can be one of {COLOR_TYPES}.'
            )
        self.mode = 'fast' if fast else mode
        self.min_detail = min_detail
        self.color_type = color_type
        self.backend_args = backend_args
        self.crop = TRANSFORMS.build(crop) if isinstance(crop, dict) else crop
        if not isinstance(self.crop, _RandomResizedCrop):
            raise TypeError(
                f'{type(self.crop).__name__} is no random crop; `crop` of '
                'LoadCrop can be a lift_mm.RandomResizedCrop or a '
                'lift_mm.MinimalistRandomResizedCrop.'
            )
        smooth = ('bilinear', 'bicubic')
        if self.crop.backend != 'pillow' or (
            self.mode != 'exact' and self.interpolation not in smooth
        ):
            raise ValueError(
                f'backend={self.crop.backend!r} and interpolation='
                f'{self.interpolation!r} of {type(self.crop).__name__} do '
                f'not fit mode={self.mode!r} of LoadCrop; `crop.backend` can '
                "be 'pillow', and `crop.interpolation` 'bilinear' or "
                "'bicubic', any of Pillow's only in mode 'exact'."
            )

    @property
    def scale(self) -> tuple[int, int]:
        """Height and width of the result."""
        return tuple(self.crop.scale)

    @property
    def interpolation(self) -> str:
        """How crops are resized."""
        return self.crop.interpolation

    @property
    def whole(self) -> LoadImageFromFile:
        """A transform that loads the same image without cropping it."""
        return LoadImageFromFile(
            color_type=self.color_type,
            imdecode_backend='pillow',
            backend_args=self.backend_args,
        )

    def transform(self, results: dict) -> dict:
        """Load the file ``results['img_path']``.

        Args:
            results: What the pipeline has gathered so far.

        Returns:
            The same with ``img``, shape (height, width, 3) and uint8, and
            with ``img_shape`` and ``ori_shape``. In mode ``'device'``,
            ``img`` is mostly a JPEG file, shape (bytes,), and ``crop`` says
            what to do with it.
        """
        data = read(results['img_path'], self.backend_args)
        upright = self.color_type == 'color'
        with open_image(BytesIO(data)) as image:
            jpeg = self.mode != 'exact' and is_plain_jpeg(image)
            tag = turn(image) if jpeg and upright else 1
            # A file that is cut off fails here, where its name is known.
            if self.mode == 'device' and (tag != 1 or not has_end(data)):
                jpeg, tag = False, 1
            if not jpeg:
                image = to_rgb(image, upright)
            width, height = image.size[:: -1 if tag > 4 else 1]
            box = self.crop.rand_crop_params(
                SimpleNamespace(shape=(height, width))
            )
            results['ori_shape'] = height, width
            results['img_shape'] = self.scale
            if not jpeg:
                results['img'] = self._of_pillow(image, *box)
            elif self.mode == 'device':
                # Not a view: torch cannot share what is read-only.
                results['img'] = np.frombuffer(bytearray(data), np.uint8)
                results['crop'] = dict(
                    box=box, interpolation=self.interpolation
                )
            else:
                results['img'] = self._of_jpeg(data, tag, (height, width), box)
        return results

    def _of_pillow(
        self, image: Image.Image, top: int, left: int, height: int, width: int
    ) -> np.ndarray:
        image = image.crop((left, top, left + width, top + height))
        if self.mode == 'exact':
            how = Image.Resampling[self.interpolation.upper()]
            pixels = np.asarray(image.resize(self.scale[::-1], how))
            return planes(pixels, swap=True)
        return planes(resize(to_array(image), self.scale, self.interpolation))

    def _of_jpeg(
        self, data: bytes, tag: int, size: tuple[int, int], box: tuple
    ) -> np.ndarray:
        reduction = 1
        if self.mode == 'fast':
            least = [self.min_detail * side for side in self.scale]
            while reduction < 8 and all(
                side >= 2 * reduction * few
                for side, few in zip(box[2:], least, strict=True)
            ):
                reduction *= 2
        image = decode_jpeg(data, reduction, tag)
        if image.shape[:2] == size:
            reduction = 1
        parts = []
        for begin, length, side in zip(
            box[:2], box[2:], image.shape[:2], strict=True
        ):
            end = min(round((begin + length) / reduction), side)
            begin = min(round(begin / reduction), side - 1)
            parts.append(slice(begin, max(end, begin + 1)))
        pixels = resize(image[tuple(parts)], self.scale, self.interpolation)
        return planes(pixels)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(crop={self.crop}, mode={self.mode!r}, '
            f'min_detail={self.min_detail}, color_type={self.color_type!r})'
        )
