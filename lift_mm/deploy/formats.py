"""Graphs in three formats: ONNX, torch.export, TorchScript.

A file is made in memory, so that one that is wrong never lies on a disk.
"""

import importlib
import io
import os
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

ENDINGS = {'onnx': '.onnx', 'torch-export': '.pt2', 'torchscript': '.ts'}
# The first with Gelu as one node, and what torch's exporter writes by itself.
OPSET = 20
_OPSETS = range(18, 24)
_ONNX_LIMIT = 2**31  # bytes of a protobuf
_BATCH = 2  # of the example; exporters take 0 and 1 for constants

Facts = Mapping[str, str]


def kind_of(
    path: str | os.PathLike, kind: str | None, opset: int | None = None
) -> str:
    """Give the format that a path's ending and further wishes ask for.

    Args:
        path: The file to write.
        kind: One of :data:`ENDINGS`; None goes by the path's ending.
        opset: Of ONNX, if one is asked for.

    Raises:
        ValueError: They ask for none that is known, or for different ones.
    """
    path = os.fspath(path)
    found = [k for k, ending in ENDINGS.items() if path.endswith(ending)]
    kind = kind or next(iter(found), None)
    endings = ', '.join(f'{ending} ({k})' for k, ending in ENDINGS.items())
    if kind not in ENDINGS or found not in ([], [kind]):
        raise ValueError(
            f'{path!r} with format={kind!r} asks for no format, which can be '
            f'told by the ending: {endings} (argument `format`).'
        )
    if opset is not None and kind != 'onnx':
        raise ValueError(
            f'opset={opset!r} is for ONNX and the format is {kind} (argument '
            '`opset`).'
        )
    return kind


def write(
    kind: str,
    model: nn.Module,
    size: tuple[int, int],
    facts: Facts,
    dtype: torch.dtype = torch.uint8,
    opset: int | None = None,
) -> bytes:
    """Write a model in one of the formats.

    Args:
        kind: One of :data:`ENDINGS`.
        model: What :func:`exportable` gives.
        size: Height and width of the images.
        facts: What the file says about itself.
        dtype: Type of the images.
        opset: Of ONNX; None is :data:`OPSET`.

    Returns:
        The file.
    """
    if kind == 'onnx':
        return to_onnx(
            model, size, facts, dtype, OPSET if opset is None else opset
        )
    if kind == 'torch-export':
        return to_torch_export(model, size, facts, dtype)
    return to_torchscript(model, size, facts, dtype)


def to_onnx(
    model: nn.Module,
    size: tuple[int, int],
    facts: Facts,
    dtype: torch.dtype = torch.uint8,
    opset: int = OPSET,
) -> bytes:
    """Write a model as ONNX: ``images`` (batch, 3, H, W) to ``logits``.

    By torch's exporter that goes through ``torch.export``: the older one,
    which traces, fixes what Python computes from shapes, and torch has
    deprecated it.

    Args:
        model: What :func:`exportable` gives.
        size: Height and width of the images, H and W.
        facts: What the file says about itself (``metadata_props``).
        dtype: Type of the images; a graph reads one only.
        opset: Version of ONNX's operators, 18 to 23.

    Returns:
        The file. It names no file of this machine.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: An impossible ``opset``, or a model of over 2 GiB.
    """
    if opset not in _OPSETS:
        raise ValueError(
            f'opset={opset!r} must be {_OPSETS[0]} to {_OPSETS[-1]} '
            '(argument `opset`).'
        )
    weights = sum(t.nbytes for t in model.state_dict().values())
    if weights >= _ONNX_LIMIT:
        raise ValueError(
            f'Weights of {weights:,} bytes are too many for an ONNX file, '
            'which holds 2 GiB; use another `format`, torch-export or '
            'torchscript.'
        )
    onnx = _extra('onnx')
    _extra('onnxscript')
    # With gradients, a merged AdaptFormer's units are put behind the MLP's;
    # without, written over them, which takes onnxruntime a third longer.
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            model,
            (_example(size, dtype),),
            input_names=['images'],
            output_names=['logits'],
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    graphs = [proto.graph, *proto.functions]
    for node in [node for graph in graphs for node in graph.node]:
        del node.metadata_props[:]  # stack traces, with paths
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, dict(facts, opset=str(opset)))
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def to_torch_export(
    model: nn.Module,
    size: tuple[int, int],
    facts: Facts,
    dtype: torch.dtype = torch.uint8,
) -> bytes:
    """Write a model as what ``torch.export.load`` reads.

    Args:
        model: What :func:`exportable` gives.
        size: Height and width of the images.
        facts: What the file says about itself (``extra_files``).
        dtype: Type of the images; a graph reads one only.

    Returns:
        The file.
    """
    # The same graph as in `to_onnx`.
    with torch.enable_grad():
        program = torch.export.export(
            model,
            (_example(size, dtype),),
            dynamic_shapes=({0: torch.export.Dim('batch')},),
        )
    for module in program.graph_module.modules():
        for node in getattr(module, 'graph', torch.fx.Graph()).nodes:
            node.meta.pop('stack_trace', None)  # paths of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=dict(facts))
    return file.getvalue()


def to_torchscript(
    model: nn.Module,
    size: tuple[int, int],
    facts: Facts,
    dtype: torch.dtype = torch.uint8,
) -> bytes:
    """Write a model as what ``torch.jit.load`` and LibTorch read.

    torch has deprecated the format; it is for programs that have nothing
    else.

    Args:
        model: What :func:`exportable` gives.
        size: Height and width of the images.
        facts: What the file says about itself (``_extra_files``).
        dtype: Type of the example; the graph reads any.

    Returns:
        The file.
    """
    # Warnings name all that Python decides while tracing. Whether one of it
    # goes by the batch shows when the file is read and run.
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(
            model, _example(size, dtype), check_trace=False
        )
        file = io.BytesIO()
        torch.jit.save(traced, file, _extra_files=dict(facts))
    return file.getvalue()


def read_back(data: bytes, kind: str) -> Callable[[Tensor], Tensor]:
    """Run what this process has just written, from images to logits.

    Args:
        data: The file, in memory. It is no way of opening what somebody else
            has made: ``'torch-export'`` and ``'torchscript'`` can run code.
        kind: One of :data:`ENDINGS`.
    """
    if kind == 'onnx':
        session = _extra('onnxruntime').InferenceSession(
            data, providers=['CPUExecutionProvider']
        )

        def run(images: Tensor) -> Tensor:
            found = session.run(['logits'], {'images': images.numpy()})[0]
            return torch.from_numpy(found)

        return run
    if kind == 'torch-export':
        return torch.export.load(io.BytesIO(data)).module()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the format is deprecated
        return torch.jit.load(io.BytesIO(data))


def _example(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.zeros(_BATCH, 3, *size, dtype=dtype)


def _extra(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'ONNX needs {name}: pip install "lift_mm[export]".'
        ) from error
