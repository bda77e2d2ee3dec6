"""What happens to a picture before a model reads it, in plain words."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import TRANSFORMS
from torch import Tensor, nn

_MEANING = dict(
    steps='done in this order, on the red, green, blue picture',
    resize_edge='the named edge becomes `size` pixels and the other one '
    'int(size * other / named)',
    resize='to height and width',
    center_crop='height x width from top = round((H - height) / 2) and left '
    '= round((W - width) / 2), halves to the even number',
    images='(batch, 3, height, width), red, green, blue, 0..255; mean and '
    'deviation are inside the model',
    logits='(batch, classes); the softmax gives probabilities',
)
_LIBRARIES = dict(pillow='pillow', cv2='opencv')


def describe(pipeline: Sequence[dict]) -> list[dict]:
    """Give the steps of a test pipeline between file and model.

    Args:
        pipeline: Its transforms, as the config has them.

    Returns:
        One dict for each, of strings and numbers: ``op`` is
        ``'resize_edge'`` (``edge``, ``size``), ``'resize'`` or
        ``'center_crop'`` (``height``, ``width``), and where something is
        resized ``interpolation`` and ``library`` ('pillow' or 'opencv').

    Raises:
        ValueError: A transform, or a setting of one, that has no such words.
    """
    steps = [_describe(dict(step)) for step in pipeline]
    return [step for step in steps if step]


def _describe(step: dict) -> dict:
    name = _name(step)
    kind = step.pop('type')
    match name:
        case 'PackInputs':
            return {}
        case 'LoadImageFromFile':
            if step.get('color_type', 'color') == 'color':
                return {}
        case 'ResizeEdge':
            return dict(
                op='resize_edge',
                edge=step.get('edge', 'short'),
                size=int(step['scale']),
                **_resampling(step),
            )
        case 'Resize' if step.get('scale') and not step.get('keep_ratio'):
            return dict(
                op='resize', **_sides(step['scale']), **_resampling(step)
            )
        case 'CenterCrop' if not step.get('auto_pad'):
            return dict(op='center_crop', **_sides(step['crop_size']))
    settings = ', '.join(f'{key}={value!r}' for key, value in step.items())
    raise ValueError(
        f'{kind}({settings}) of the test pipeline cannot be described in an '
        'exported file; LoadImageFromFile, ResizeEdge, Resize to a fixed '
        'size, CenterCrop and PackInputs can (key '
        '`test_dataloader.dataset.pipeline`).'
    )


def card(
    pipeline: Sequence[dict], size: tuple[int, int], dtype: torch.dtype
) -> dict:
    """Give what a file says about the images it reads.

    Args:
        pipeline: Transforms of the test.
        size: Height and width that the model reads.
        dtype: Type that it reads.
    """
    return dict(
        steps=describe(pipeline),
        size=list(size),
        channels='RGB',
        dtype=str(dtype).removeprefix('torch.'),
        orientation='turned as its EXIF data say',
        meaning=_MEANING,
    )


def test_pipeline(model: nn.Module) -> list[dict]:
    """Give the transforms of a test that a model's config has.

    Args:
        model: A model of ``get_model``.

    Raises:
        ValueError: The model has no config, or its config no test.
    """
    config = getattr(model, '_config', None) or {}
    loader = config.get('test_dataloader') or {}
    pipeline = (loader.get('dataset') or {}).get('pipeline')
    if pipeline is None:
        raise ValueError(
            'The model does not know how its images are made: give '
            '`pipeline`, or build it by get_model from a config with the key '
            '`test_dataloader.dataset.pipeline`.'
        )
    return list(pipeline)


def channel_order(pipeline: Sequence[dict]) -> str:
    """Give 'bgr' or 'rgb': what a pipeline hands to the preprocessor.

    OpenMMLab loads files as blue, green, red; datasets of arrays, as CIFAR,
    hand over red, green, blue.

    Args:
        pipeline: Transforms of the test.
    """
    loads = any(_name(step).startswith('Load') for step in pipeline)
    return 'bgr' if loads else 'rgb'


def image_size(
    model: nn.Module, pipeline: Sequence[dict] = ()
) -> tuple[int, int]:
    """Give height and width of the images that a model reads.

    Args:
        model: The model.
        pipeline: Transforms of the test, whose end tells first.

    Raises:
        ValueError: Neither the pipeline's end nor the backbone tells.
    """
    for step in reversed(describe(pipeline)):
        if 'height' in step:
            return step['height'], step['width']
        break
    for module in model.modules():
        size = getattr(module, 'img_size', None)
        if isinstance(size, int):
            return size, size
        if size:
            return tuple(size)
    raise ValueError(
        'The size of the images is unknown: end the test pipeline with a '
        'CenterCrop (key `test_dataloader.dataset.pipeline`), or give `size`.'
    )


def read_images(pipeline: Sequence[dict], paths: Sequence[str]) -> Tensor:
    """Give images as a test pipeline makes them, (B, 3, H, W), in uint8.

    Args:
        pipeline: Transforms of the test; those for arrays get a loader.
        paths: Image files.
    """
    pipeline = list(pipeline)
    arrays = channel_order(pipeline) == 'rgb'
    if arrays:
        load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
        pipeline.insert(0, load)
    steps = [TRANSFORMS.build(step) for step in pipeline]
    found = []
    for path in paths:
        data = dict(img_path=path)
        for step in steps:
            data = step(data)
        image = data['inputs']
        found.append(image.flip(0) if arrays else image)  # loaded as BGR
    return torch.stack(found)


def _name(step: dict) -> str:
    kind = step['type']
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]


def _sides(given: int | Sequence[int]) -> dict:
    width, height = (given, given) if isinstance(given, int) else given
    return dict(height=int(height), width=int(width))


def _resampling(step: dict) -> dict:
    return dict(
        interpolation=step.get('interpolation', 'bilinear'),
        library=_LIBRARIES[step.get('backend', 'cv2')],
    )
