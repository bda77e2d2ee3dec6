"""Test-time ensembling."""

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from lift_mm.registry import MODELS

_MAX_BATCH = 256
# On a CPU larger blocks of memory cost more than fewer calls save: ViT-B/16
# at 224 slows down from 16 images on, ViT-L/14 at 336 from 5 on.
_MAX_PIXELS_CPU = 8 * 224**2


def tta_settings(cfg: Config) -> tuple[dict, list[dict]]:
    """Give what makes a test one with test-time augmentation.

    Returns:
        The configs of the model around the model, and of the pipeline: those
        of ``cfg``, or mean logits of an image and its mirror image.
    """
    model = cfg.get('tta_model', dict(type='lift_mm.MeanLogitTTA'))
    pipeline = cfg.get('tta_pipeline')
    if pipeline is None:
        pipeline = deepcopy(cfg.test_dataloader.dataset.pipeline)
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        pipeline[-1] = dict(
            type='TestTimeAug', transforms=[flips, [pipeline[-1]]]
        )
    return model, pipeline


@MODELS.register_module()
class MeanLogitTTA(BaseTTAModel):
    """Average the logits of several views (LIFT, section 4.4).

    mmpretrain's ``AverageClsScoreTTA`` averages probabilities, which can
    give another class.

    Args:
        module: The model, or its config.
        data_preprocessor: For a model that has none of its own.
        max_batch: Views of one size go through the model together, as long
            as they are not more images than this. A batch of one view is
            never split: that is what ``batch_size`` is for. By default 256,
            on a CPU at most as many as have the pixels of 8 images of
            224 x 224, because more are no faster there.

    Raises:
        ValueError: A ``max_batch`` that is no whole number above 0.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        data_preprocessor: dict | nn.Module | None = None,
        max_batch: int | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        if max_batch is not None and (
            not isinstance(max_batch, int) or max_batch < 1
        ):
            raise ValueError(
                f'max_batch={max_batch!r} of MeanLogitTTA must be a whole '
                'number of images above 0, or None (key '
                '`tta_model.max_batch`).'
            )
        self.max_batch = max_batch

    def test_step(self, data: dict) -> list[DataSample]:
        """Predict from all views of a batch.

        Args:
            data: ``inputs`` and ``data_samples``, each a list over views of
                a batch.
        """
        views = (
            self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=samples), training=False
            )
            for inputs, samples in zip(data['inputs'], data['data_samples'])
        )
        logits: list[Tensor] = []
        for batch, samples in self._join(views):
            parts = self.module(batch, mode='tensor').split(len(samples))
            logits += parts
        mean = self.merge_preds(logits)
        return self.module.head._get_predictions(mean, samples)

    def _join(self, views: Iterable[dict]) -> Iterator[tuple[Tensor, list]]:
        """Put as many views as fit into one batch, (B, ...) -> (kB, ...).

        Returns:
            Each batch, and the samples of its last view.
        """
        group: list[Tensor] = []
        samples: list[DataSample] = []
        for view in views:
            images = view['inputs']
            same = all(images.shape == other.shape for other in group)
            number = len(images) * (len(group) + 1)
            if group and not (same and number <= self._most(images)):
                yield _cat(group), samples
                group = []
            group.append(images)
            samples = view['data_samples']
        yield _cat(group), samples

    def _most(self, images: Tensor) -> int:
        if self.max_batch is not None:
            return self.max_batch
        if images.device.type != 'cpu':
            return _MAX_BATCH
        pixels = math.prod(images.shape[2:])
        return min(_MAX_BATCH, _MAX_PIXELS_CPU // pixels)

    def merge_preds(self, logits: Sequence[Tensor]) -> Tensor:
        """Give the mean over views, V x (B, C) -> (B, C)."""
        # View by view: `mean` over a stack rounds differently for another
        # batch size, and ranks may have other ones than a single process.
        total = logits[0].float()
        for view in logits[1:]:
            total = total + view
        return total / len(logits)


def _cat(views: list[Tensor]) -> Tensor:
    return torch.cat(views) if len(views) > 1 else views[0]
