"""The training images of a run, each once and without chance."""

import copy
import hashlib
import json
from collections.abc import Sequence
from itertools import takewhile
from numbers import Integral

import numpy as np
from mmengine.dataset import BaseDataset, Compose
from mmpretrain.registry import TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

_INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'lanczos')


def images_of(dataset) -> list[tuple[BaseDataset, int]]:
    """Give each image of a dataset once, as a plain dataset and an index.

    Joined datasets and those that repeat or pick images are looked through.

    Raises:
        TypeError: No dataset of mmengine is inside.
    """
    if hasattr(dataset, 'datasets'):
        return [
            image for part in dataset.datasets for image in images_of(part)
        ]
    if hasattr(dataset, 'dataset'):
        found = images_of(dataset.dataset)
        indices = getattr(dataset, 'indices', None)  # of torch's Subset
        return found if indices is None else [found[i] for i in indices]
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f'The training set {type(dataset).__name__} is no dataset of '
            'mmengine, so a head cannot start from its images: set '
            '`head.init=None` or another init (key `model.head.init`).'
        )
    return [(dataset, index) for index in range(len(dataset))]


def plain_pipeline(
    transforms: Sequence, size: int, interpolation: str
) -> list:
    """Give the transforms that LIFT starts a head with.

    Short side to ``size``, centre crop, no margin and no flip.

    Args:
        transforms: Those of training, whose leading ones load the image.
        size: Side of the image in pixels.
        interpolation: How Pillow resizes.
    """
    loading = takewhile(
        lambda step: type(step).__name__.startswith('Load'), transforms
    )
    return [
        # One that crops, too, can do without.
        *(getattr(step, 'whole', step) for step in loading),
        dict(
            type='ResizeEdge',
            scale=size,
            edge='short',
            backend='pillow',
            interpolation=interpolation,
        ),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]


def input_size(net, transforms: Sequence) -> int:
    """Give the side of the images that a backbone was made for.

    Where the backbone does not tell, the last crop of training does.

    Args:
        net: The backbone.
        transforms: Those of training.

    Raises:
        ValueError: Neither tells, or the images are not square.
    """
    sizes = [getattr(module, 'img_size', None) for module in net.modules()]
    for step in reversed(transforms):
        step = getattr(step, 't', step)  # a transform of torchvision
        keys = ('crop_size', 'size', 'scale')
        sizes += [getattr(step, key, None) for key in keys]
    for size in sizes:
        pair = size if isinstance(size, (tuple, list)) else (size, size)
        if len(pair) == 2 and all(isinstance(n, Integral) for n in pair):
            if pair[0] == pair[1]:
                return int(pair[0])
            raise ValueError(
                f'The images of {type(net).__name__} are {pair[0]} x '
                f'{pair[1]} pixels and not square, so that only you know how '
                'to cut them: give all transforms in `head.init.pipeline`.'
            )
    raise ValueError(
        f'Neither {type(net).__name__} nor the training pipeline tells the '
        'size of the images that start the head: give `head.init.img_size`.'
    )


def recipe_interpolation(transforms: Sequence) -> str:
    """Give the interpolation of the first resizing transform of training."""
    for step in transforms:
        step = getattr(step, 't', step)
        value = getattr(step, 'interpolation', None)
        if value is not None:
            return getattr(value, 'value', value)  # an enum of torchvision
    return 'bilinear'


class TrainImages(Dataset):
    """Images of a training set through transforms without chance.

    Args:
        dataset: The training set of a run, or a wrapper of such.
        net: The backbone, for the size of its images.
        pipeline: All transforms, from loading to packing; None is
            :func:`plain_pipeline` with the following two.
        img_size: Side of the image; None is :func:`input_size`.
        interpolation: How Pillow resizes; None is that of the training
            pipeline.

    Attributes:
        labels: Label of each image, (N,).
        transform: What is done to the images, in words.

    Raises:
        TypeError: A dataset or labels of an unknown kind.
        ValueError: The size of the images is unknown.
    """

    def __init__(
        self,
        dataset,
        net,
        pipeline: Sequence[dict] | None = None,
        img_size: int | None = None,
        interpolation: str | None = None,
    ) -> None:
        self._images = images_of(dataset)
        self._views: dict[int, BaseDataset] = {}
        for source, _ in self._images:
            if id(source) not in self._views:
                steps = pipeline
                if pipeline is None:
                    train = source.pipeline.transforms
                    how = interpolation or recipe_interpolation(train)
                    check_interpolation(how)
                    size = img_size or input_size(net, train)
                    steps = plain_pipeline(train, size, how)
                self._views[id(source)] = _view(source, steps)
        steps = [view.pipeline.transforms for view in self._views.values()]
        words = (', '.join(map(repr, own)) for own in steps)
        self.transform = ' / '.join(dict.fromkeys(words))
        self._digest = hashlib.sha256()
        self.labels = np.array([self._label(*image) for image in self._images])

    def _label(self, source: BaseDataset, index: int) -> int:
        """Give the label of an image, and note which image it is."""
        info = source.get_data_info(index)
        label, path = info.get('gt_label'), info.get('img_path')
        if not isinstance(label, Integral):
            raise TypeError(
                f'Image {index} of {type(source).__name__} has the label '
                f'{label!r}, and a head can start only from images of one '
                'class each (key `model.head.init`).'
            )
        if path is None:
            pixels = info.get('img')
            if not isinstance(pixels, np.ndarray):
                raise TypeError(
                    f'Image {index} of {type(source).__name__} has neither a '
                    'path `img_path` nor an array `img`, so a head cannot '
                    'start from it (key `model.head.init`).'
                )
            self._digest.update(pixels.tobytes())
        self._digest.update(json.dumps([path, int(label)]).encode())
        return int(label)

    def digest(self) -> str:
        """Name images, labels and transforms by a hash.

        A file counts by its path: one that has changed in its place is not
        noticed.
        """
        whole = self._digest.copy()
        whole.update(self.transform.encode())
        return whole.hexdigest()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> Tensor:
        """Give one image, (3, H, W), as the model's preprocessor wants it."""
        source, index = self._images[place]
        view = self._views[id(source)]
        try:
            return view[index]['inputs']
        except (AssertionError, KeyError) as error:  # no `img`, no `inputs`
            raise ValueError(
                f'The transforms {self.transform} do not give an image '
                f'({error}): they must load, resize and pack it (key '
                '`head.init.pipeline`).'
            ) from error


def check_interpolation(name: str) -> None:
    """Refuse what Pillow does not know.

    Raises:
        ValueError: An unknown interpolation.
    """
    if name not in _INTERPOLATIONS:
        raise ValueError(
            f'interpolation={name!r} is none of '
            f'{", ".join(_INTERPOLATIONS)} (key `head.init.interpolation`).'
        )


def _view(source: BaseDataset, pipeline: Sequence) -> BaseDataset:
    """Give a dataset that shares all with another but its transforms."""
    view = copy.copy(source)
    view.test_mode = True  # nothing random, no other image for a broken one
    view.pipeline = Compose(
        [
            TRANSFORMS.build(step) if isinstance(step, dict) else step
            for step in pipeline
        ]
    )
    return view
