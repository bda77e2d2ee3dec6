"""Predictions for files, folders, addresses and arrays."""

import os
from collections.abc import Callable, Iterator, Sequence
from math import ceil

import numpy as np
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from mmpretrain.utils import track
from PIL import Image as PILImage

from .datasets.decoding import to_array, to_rgb
from .datasets.image_files import broken_reason
from .datasets.long_tail_folder import IMAGE_ENDINGS
from .models.started import build_started
from .models.tta import tta_settings
from .models.tuned_states import load_learned

Image = str | os.PathLike | np.ndarray | PILImage.Image


class LongTailInferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer, which predicts what a test of the config does.

    Files are read and transformed as there, bit by bit, and arrays as if they
    had just been read.

    Args:
        model: Config of a training run, its path, the name of a recipe, or
            a model of ``get_model``.
        pretrained: Checkpoint or published tuned file; True takes
            ``load_from`` of the config, where there is one. Without any the
            model is tested as it starts, i.e. zero-shot.
        device: Where to compute; None takes the fastest there is, and leaves
            a model where it is.
        classes: Names by label. None takes those of the checkpoint. Where
            none is loaded they are what the model tells apart, see
            :func:`lift_mm.apis.set_class_names`, and None takes those of the
            test set.
        tte: Test-time ensembling, as ``tools/test.py --tta`` does it.
        topk: How many of the best classes each result lists in ``top``.
        **kwargs: Further keys of ``model`` in the config.

    Raises:
        ValueError: The checkpoint is of another model, the names are not as
            many as the classes, or a model without checkpoint cannot start
            from names.

    Examples:
        >>> infer = LongTailInferencer('my_photos.py', 'epoch_10.pth')
        >>> infer('photo.jpg')[0]['top']
        [('fox', 0.93), ('dog', 0.04), ('cat', 0.01), ...]
    """

    def __init__(
        self,
        model: BaseModel | Config | str | os.PathLike,
        pretrained: bool | str | os.PathLike | None = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        tte: bool = False,
        topk: int = 5,
        **kwargs,
    ) -> None:
        if not isinstance(topk, int) or topk < 1:
            raise ValueError(
                f'topk={topk!r} must be a whole number above 0 (argument '
                '`topk`).'
            )
        self.tte = tte
        self.topk = topk
        if not isinstance(model, BaseModel):
            model = build_started(model, pretrained, classes, **kwargs)
            device = device or get_device()
            pretrained = None
        elif isinstance(pretrained, (str, os.PathLike)):
            load_learned(model, pretrained)
            pretrained = None
        super().__init__(model, pretrained, device, classes)
        number = getattr(self.model.head, 'num_classes', None)
        if self.classes is not None and number != len(self.classes):
            raise ValueError(
                f'There are {len(self.classes)} class names and the model '
                f'has {number} classes (argument `classes`).'
            )

    def __call__(
        self,
        inputs: Image | Sequence[Image],
        return_datasamples: bool = False,
        batch_size: int = 1,
        skip_broken: bool = False,
        **kwargs,
    ) -> list:
        """Predict.

        Args:
            inputs: An image, or several: a path, a URL, a PIL image, an
                array (uint8, (H, W, 3), channels blue, green, red as OpenCV
                reads them, whatever the dataset's); or a folder, whose
                images are taken in the order of their names.
            return_datasamples: Give mmpretrain's ``DataSample`` instead.
            batch_size: Images a batch.
            skip_broken: Give ``dict(error=...)`` for an image that cannot be
                read, instead of raising.
            **kwargs: ``show``, ``show_dir`` and others of mmpretrain.

        Returns:
            A dict for each image: ``pred_label``, ``pred_score`` (0..1),
            ``pred_scores``, shape (C,), ``pred_class``, and ``top``, the
            best classes with their scores. ``path`` is there where the image
            has one.

        Raises:
            TypeError: An input is of another kind.
            ValueError: An image cannot be read, or a folder has none.
        """
        inputs = self._inputs_to_list(inputs)
        *_, drawing, _ = self._dispatch_kwargs(**kwargs)
        errors: dict[int, str] = {}
        batches = self.preprocess(
            inputs, batch_size, errors if skip_broken else None
        )
        if len(inputs) > batch_size:
            total = ceil(len(inputs) / batch_size)
            batches = track(batches, 'Inference', total=total)
        samples = [
            sample for batch in batches for sample in self.forward(batch)
        ]
        sound = [x for i, x in enumerate(inputs) if i not in errors]
        pictures = self.visualize(sound, samples, **drawing)
        found = iter(self.postprocess(samples, pictures, return_datasamples))
        results = [
            dict(error=errors[i]) if i in errors else next(found)
            for i in range(len(inputs))
        ]
        for image, result in zip(inputs, results):
            if isinstance(image, str) and isinstance(result, dict):
                result['path'] = image
        return results

    def preprocess(
        self,
        inputs: Sequence[Image],
        batch_size: int = 1,
        errors: dict[int, str] | None = None,
    ) -> Iterator[dict]:
        """Read and transform images, and give them in batches.

        Args:
            inputs: The images.
            batch_size: Images a batch.
            errors: Takes the reason for each image that cannot be read, by
                its place; None raises.
        """

        def read() -> Iterator[dict]:
            for place, image in enumerate(inputs):
                try:
                    found = self._read(image)
                except ValueError as error:
                    if errors is None:
                        raise
                    errors[place] = str(error)
                    continue
                # Random crops go by it, as in a test.
                yield self.pipeline(dict(found, sample_idx=place))

        chunks = self._get_chunk_data(read(), batch_size)
        yield from map(default_collate, chunks)

    @torch.no_grad()
    def forward(self, inputs: dict) -> list[DataSample]:
        """Predict for a batch of :meth:`preprocess`."""
        return (self._ensemble or self.model).test_step(inputs)

    def visualize(
        self, ori_inputs: list, preds: list[DataSample], **kwargs
    ) -> list[np.ndarray] | None:
        """See ``ImageClassificationInferencer``, which draws arrays as RGB."""
        pictures = [
            x if isinstance(x, str) else _pixels(x)[..., ::-1]
            for x in ori_inputs
        ]
        return super().visualize(pictures, preds, **kwargs)

    def postprocess(
        self,
        preds: list[DataSample],
        visualization: list[np.ndarray] | None,
        return_datasamples: bool = False,
    ) -> list:
        """Give a dict of plain types for each prediction."""
        results = super().postprocess(preds, visualization, return_datasamples)
        for result in () if return_datasamples else results:
            scores = result['pred_scores']
            best = np.argsort(-scores, kind='stable')[: self.topk].tolist()
            result['top'] = [
                (self.classes[i] if self.classes else i, float(scores[i]))
                for i in best
            ]
        return results

    def _inputs_to_list(self, inputs: Image | Sequence[Image]) -> list:
        if isinstance(inputs, (str, os.PathLike)):
            folder = os.fspath(inputs)
            found = super()._inputs_to_list(folder)
            if found == [folder]:
                return found
            found = [i for i in found if i.lower().endswith(IMAGE_ENDINGS)]
            if not found:
                raise ValueError(
                    f'The folder {folder!r} has no file that ends in '
                    f'{", ".join(IMAGE_ENDINGS)} (argument `inputs`).'
                )
            return sorted(found)
        return [
            os.fspath(image) if isinstance(image, os.PathLike) else image
            for image in super()._inputs_to_list(inputs)
        ]

    def _init_pipeline(self, cfg: Config) -> Callable:
        """Take the steps of a test apart: how files are read, and the rest."""
        steps = cfg.test_dataloader.dataset.pipeline
        self._ensemble = None
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            if self.tte:
                around, steps = tta_settings(cfg)
                self._ensemble = MODELS.build(dict(around, module=self.model))
            steps = [TRANSFORMS.build(step) for step in steps]
        if steps and isinstance(steps[0], LoadImageFromFile):
            self._load, *steps = steps
            self._rgb = False
        else:  # the dataset holds arrays, in the order of the mean
            self._load = LoadImageFromFile(imdecode_backend='pillow')
            self._rgb = not self.model.data_preprocessor.to_rgb
        return Compose(steps)

    def _read(self, image: Image) -> dict:
        """Read an image as the dataset of a test would.

        Raises:
            TypeError: It is no image, path or URL.
            ValueError: It cannot be read.
        """
        try:
            if isinstance(image, str):
                found = self._load(dict(img_path=image))
            else:
                pixels = _pixels(image)
                size = pixels.shape[:2]
                found = dict(img=pixels, img_shape=size, ori_shape=size)
        except TypeError:
            raise
        # Decoders raise nearly everything.
        except Exception as error:
            name = repr(image) if isinstance(image, str) else type(image)
            reason = isinstance(image, str) and broken_reason(image)
            reason = reason or f'{type(error).__name__}: {error}'
            raise ValueError(
                f'The image {name} cannot be read ({reason}); replace it, or '
                'leave broken images out (argument `skip_broken`).'
            ) from error
        if self._rgb:
            found['img'] = np.ascontiguousarray(found['img'][..., ::-1])
        return found


def _pixels(image: np.ndarray | PILImage.Image) -> np.ndarray:
    """Give an image as mmcv reads one: (H, W, 3), blue first."""
    if isinstance(image, PILImage.Image):
        return to_array(to_rgb(image, upright=True))
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f'An input is of the type {type(image).__name__}; it can be a '
            'path, a URL, an array or a PIL image (argument `inputs`).'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'it has the shape {image.shape} of {image.dtype}, and must have '
            '(height, width, 3) of uint8'
        )
    return image
