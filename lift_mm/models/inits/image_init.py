"""Rows from the features of training images."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine import dist
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import Subset

from lift_mm.clip.cache import read_cache, write_cache
from lift_mm.datasets.longtail import long_tail_indices

from .features import base_digest, base_features, base_only
from .train_images import TrainImages, check_interpolation


class ImageInit:
    """What starts rows from training images has in common.

    ``ClassInfoHook`` hands over model and training set. The features are the
    head's input, computed in float32 without tuners, each image resized and
    cropped at its centre. The rows are kept in the cache, named by a hash of
    the base, the images' paths (or pixels) and labels, the transforms and
    the settings here. A distributed run shares the images out.

    Args:
        shots: Take at most so many random images of each class; None takes
            all.
        seed: Of that choice.
        img_size: Side of the images in pixels; None is the backbone's, or
            that of the last training crop.
        interpolation: How Pillow resizes; None is as in training (bilinear
            in LIFT, bicubic in LIFT+).
        pipeline: All transforms from loading to packing, instead of the two
            before.
        cache: Read and write the cache.

    Raises:
        ValueError: A setting out of range; later on no training set, a
            class without images, or features of another width than the
            head's.
    """

    def __init__(
        self,
        shots: int | None = None,
        seed: int = 0,
        img_size: int | None = None,
        interpolation: str | None = None,
        pipeline: Sequence[dict] | None = None,
        cache: bool = True,
    ) -> None:
        for key, value, least in (
            ('shots', shots, 1),
            ('img_size', img_size, 1),
            ('seed', seed, 0),
        ):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (value is None and least) and not (
                whole and value >= least
            ):
                raise ValueError(
                    f'{key}={value!r} of {type(self).__name__} must be an int '
                    f'of at least {least}{" or None" if least else ""} (key '
                    f'`head.init.{key}`).'
                )
        if interpolation is not None:
            check_interpolation(interpolation)
        if pipeline is not None and (img_size or interpolation):
            raise ValueError(
                f'pipeline of {type(self).__name__} says how images are '
                'resized: drop `head.init.img_size` and '
                '`head.init.interpolation`, or `head.init.pipeline`.'
            )
        self.shots = shots
        self.seed = seed
        self.images = dict(
            img_size=img_size, interpolation=interpolation, pipeline=pipeline
        )
        self.cache = cache
        self._data: tuple | None = None

    def set_data(self, model: nn.Module, loader) -> None:
        """Take what the rows start from.

        Args:
            model: The classifier.
            loader: Loader of the training set; its own batch size and number
                of processes are used.
        """
        self._data = model, loader

    def __getstate__(self) -> dict:
        """Leave the data out of copies of a model."""
        return dict(self.__dict__, _data=None)

    def __call__(
        self, class_names: Sequence[str] | None, weight: Tensor
    ) -> Tensor:
        """Give the rows for the classes of the training set.

        Args:
            class_names: C names, for messages.
            weight: The head's weight, (C, D), for its shape and device.

        Returns:
            (C, D) on that device, rows of unit length.
        """
        if self._data is None:
            raise ValueError(
                f'{type(self).__name__} needs the training set and has none: '
                "keep dict(type='lift_mm.ClassInfoHook') in `custom_hooks`, "
                'or load a checkpoint that has a head (key '
                '`model.head.init`).'
            )
        model, loader = self._data
        images = TrainImages(loader.dataset, model.backbone, **self.images)
        self._check(images.labels, len(weight), class_names)
        with base_only(model):
            entry = None
            if self.cache and dist.is_main_process():
                entry = self._entry(images, model, weight)
            found = _of_main(entry and read_cache(entry))
            if found is None:
                rows = self._compute(model, loader, images, weight)
                found = dict(rows=rows)
                if entry:
                    write_cache(entry, found)
        return found['rows'].to(weight)

    def _check(self, labels: np.ndarray, size: int, names) -> None:
        names = range(size) if names is None else names
        counts = np.bincount(labels, minlength=size)
        if len(counts) > size:
            raise ValueError(
                f'The training set has the label {len(counts) - 1} and the '
                f'head num_classes={size} (key `model.head.num_classes`).'
            )
        empty = [name for name, n in zip(names, counts.tolist()) if n == 0]
        if empty:
            more = f' and {len(empty) - 5} more' if len(empty) > 5 else ''
            raise ValueError(
                f'{type(self).__name__} finds no training image of '
                f'{", ".join(map(repr, empty[:5]))}{more}: add images, drop '
                'the names (dataset key `classes`) or set another '
                '`head.init`.'
            )

    def _entry(self, images: TrainImages, model, weight: Tensor) -> str:
        """Name the cache entry of a question."""
        shots = [self.shots, self.seed if self.shots else None]
        key = [images.digest(), base_digest(model), *weight.shape, *shots]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return f'{type(self).__name__}-{digest}'

    def _compute(self, model, loader, images, weight: Tensor) -> Tensor:
        places = np.arange(len(images))
        if self.shots:
            rng = np.random.RandomState(self.seed)
            most = [self.shots] * len(weight)
            places = np.sort(long_tail_indices(images.labels, most, rng))
        kind = type(self).__name__
        print_log(
            f'{kind}: features of {len(places)} images of {len(weight)} '
            f'classes by {images.transform}',
            logger='current',
        )
        begin = time.time()
        batches = base_features(
            model,
            Subset(images, places.tolist()),
            loader.batch_size or 64,
            loader.num_workers,
        )
        labels = torch.from_numpy(images.labels[places])
        rows = self.rows(batches, labels, tuple(weight.shape))
        print_log(
            f'{kind}: rows of {len(weight)} classes from {len(places)} images '
            f'in {time.time() - begin:.1f} s.',
            logger='current',
        )
        return rows

    def rows(
        self,
        batches: Iterator[tuple[Tensor, Tensor]],
        labels: Tensor,
        shape: tuple[int, int],
    ) -> Tensor:
        """Turn features into rows, the same on all ranks.

        Args:
            batches: Places (B,) among N images, and the features (B, D) of
                these, for this rank's share of them.
            labels: Labels of all of them, (N,).
            shape: (C, D).
        """
        raise NotImplementedError


def _of_main(value):
    """Give what rank 0 has, on all ranks."""
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]
