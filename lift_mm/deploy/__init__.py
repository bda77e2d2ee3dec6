"""Models as files that run without this package, and without PyTorch."""

from .compare import difference, random_images
from .exportable import Exportable, exportable
from .formats import (
    ENDINGS,
    OPSET,
    kind_of,
    read_back,
    to_onnx,
    to_torch_export,
    to_torchscript,
    write,
)
from .preprocessing import (
    card,
    channel_order,
    describe,
    image_size,
    read_images,
    test_pipeline,
)

__all__ = [
    'ENDINGS',
    'OPSET',
    'Exportable',
    'card',
    'channel_order',
    'describe',
    'difference',
    'exportable',
    'image_size',
    'kind_of',
    'random_images',
    'read_back',
    'read_images',
    'test_pipeline',
    'to_onnx',
    'to_torch_export',
    'to_torchscript',
    'write',
]
