"""Tensors of TorchScript archives, read without running their programs.

``torch.jit.load`` compiles and calls what an archive brings (``__setstate__``
of its modules), and that may write files. Here the module tree is read as
data; the programs are searched for the names of parameters and buffers.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from lift_mm.safe_pickle import Call, Unpickler

# What a state dict holds, in the text of a class.
_NAMES = re.compile(r'^  __(?:parameters|buffers)__ = \[(.*)\]', re.M)
_DTYPES = {
    'torch.DoubleStorage': torch.float64,
    'torch.FloatStorage': torch.float32,
    'torch.HalfStorage': torch.float16,
    'torch.BFloat16Storage': torch.bfloat16,
    'torch.LongStorage': torch.int64,
    'torch.IntStorage': torch.int32,
    'torch.ShortStorage': torch.int16,
    'torch.CharStorage': torch.int8,
    'torch.ByteStorage': torch.uint8,
    'torch.BoolStorage': torch.bool,
}


class _Module:
    """Stands in for a class of the archive."""

    path: str

    def __setstate__(self, fields: dict) -> None:
        if not isinstance(fields, dict):
            raise pickle.UnpicklingError(f'GLOBAL {self.path}.__setstate__')
        self.fields = fields


def _tensor(
    flat: Tensor, offset: int, size: Sequence, stride: Sequence, *_
) -> Tensor:
    return flat.as_strided(size, stride, offset)


_ALLOWED = {
    **_DTYPES,
    'torch._utils._rebuild_tensor_v2': Call(_tensor),
    'collections.OrderedDict': Call(OrderedDict),
    'torch.jit._pickle.restore_type_tag': Call(lambda value, _: value),
    **{
        f'torch.jit._pickle.build_{kind}list': Call(list)
        for kind in ('int', 'double', 'bool', 'tensor')
    },
}


class _TreeUnpickler(Unpickler):
    """Reads the module tree of an archive."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.read(f'{folder}/data.pkl'), _ALLOWED)
        self._archive, self._folder = archive, folder
        self._classes, self._storages = {}, {}

    def find_class(self, module: str, name: str) -> object:
        if module.split('.')[0] != '__torch__':
            return super().find_class(module, name)
        path = f'{module}.{name}'
        new = type('Module', (_Module,), dict(path=path))
        return self._classes.setdefault(path, new)

    def persistent_load(self, key: tuple) -> Tensor:
        """Give a storage as a tensor of one dimension."""
        _, dtype, name, *_ = key
        if (name, dtype) not in self._storages:
            record = self._archive.getinfo(f'{self._folder}/data/{name}')
            # torch never does it, and what is packed may be immense.
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f'the tensor {record.filename} is compressed')
            data = bytearray(self._archive.read(record))
            self._storages[name, dtype] = (
                torch.frombuffer(data, dtype=dtype)
                if data
                else torch.empty(0, dtype=dtype)
            )
        return self._storages[name, dtype]


def is_torchscript(path: str) -> bool:
    """Say whether a file is a TorchScript archive, as OpenAI publishes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any(name.endswith('/constants.pkl') for name in names)


def read_torchscript(path: str) -> dict[str, Tensor]:
    """Give what ``torch.jit.load(path).state_dict()`` gives, on the CPU.

    Args:
        path: The archive.

    Raises:
        UnpicklingError: A module restores itself by a program, or the file
            asks for a name that no module tree needs.
        Exception: Whatever the parts raise on a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].split('/')[0]
        root = _TreeUnpickler(archive, folder).load()
        classes = _classes(archive, f'{folder}/code/')
    state = {}
    _collect(root, '', classes, state)
    return state


def _classes(archive: zipfile.ZipFile, code: str) -> dict[str, str]:
    """Give the program of every class by its path."""
    found = {}
    for name in archive.namelist():
        if not name.startswith(code) or not name.endswith('.py'):
            continue
        module = name[len(code) : -len('.py')].replace('/', '.')
        text = archive.read(name).decode()
        for part in re.split(r'^class ', text, flags=re.M)[1:]:
            found[f'{module}.{part[: part.index("(")]}'] = part
    return found


def _collect(
    module: _Module, prefix: str, classes: dict[str, str], state: dict
) -> None:
    program = classes[module.path]
    if '  def __setstate__(' in program:
        raise pickle.UnpicklingError(f'GLOBAL {module.path}.__setstate__')
    for names in _NAMES.findall(program):
        for name in re.findall(r'"([^"]+)"', names):
            value = module.fields[name]
            if isinstance(value, Tensor):  # a bias may be None
                state[prefix + name] = value
    for name, value in module.fields.items():
        if isinstance(value, _Module):
            _collect(value, f'{prefix}{name}.', classes, state)
