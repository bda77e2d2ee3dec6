"""Unpickling by an allow list: numbers, texts and their containers.

A pickle is a program. What it may call are the functions below, which take
numbers and nothing else, in the place of what it names.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from mmengine.logging import HistoryBuffer

_NUMBER = re.compile(r'[biufc]\d{1,2}')


class Call:
    """A function that a pickle may call and cannot change.

    Args:
        function: What is called.
    """

    __slots__ = ('_function',)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args) -> object:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError('a state for a function')


class Unpickler(pickle.Unpickler):
    """An unpickler that knows only the names it is given.

    Args:
        data: The pickle.
        allowed: What stands for a global name, by ``'module.name'``. By
            default arrays of numbers, see :func:`settle`.
        encoding: As in :func:`pickle.loads`.
    """

    def __init__(
        self,
        data: bytes,
        allowed: Mapping[str, object] | None = None,
        encoding: str = 'ASCII',
    ) -> None:
        super().__init__(BytesIO(data), encoding=encoding)
        self._allowed = ARRAYS if allowed is None else allowed

    def find_class(self, module: str, name: str) -> object:
        """Give what stands for a global name.

        Raises:
            UnpicklingError: It is none of the allowed ones.
        """
        found = self._allowed.get(f'{module}.{name}')
        if found is None:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name}')
        return found


class Dtype:
    """Stands in for ``numpy.dtype``: plain numbers only."""

    def __init__(self, code: str, *_) -> None:
        if not _NUMBER.fullmatch(str(code)):
            raise pickle.UnpicklingError(f'GLOBAL numpy.dtype({code!r})')
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        # Of the nine fields only the byte order means anything for a number.
        if state[1] in ('<', '>'):
            self.numpy = self.numpy.newbyteorder(state[1])


class Array:
    """Stands in for ``numpy.ndarray`` until the file is read."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):  # the bytes of Python 2
            data = data.encode('latin1')
        flat = np.frombuffer(data, dtype.numpy)
        self.numpy = flat.reshape(shape, order='F' if fortran else 'C').copy()


def reconstruct(*_) -> Array:
    """Stand in for the function that makes an empty array."""
    return Array()


def scalar(dtype: Dtype, data: bytes) -> np.generic:
    """Stand in for the function that makes a number of numpy."""
    return np.frombuffer(data, dtype.numpy)[0]


def settle(node: object) -> object:
    """Put what numpy has in the place of the stand-ins.

    Args:
        node: What was read; dicts, lists and logs are changed in place.
    """
    if isinstance(node, (Array, Dtype)):
        return node.numpy
    if isinstance(node, HistoryBuffer):
        settle(vars(node))
    elif isinstance(node, dict):
        for key in node:
            node[key] = settle(node[key])
    elif isinstance(node, list):
        node[:] = map(settle, node)
    elif type(node) is tuple:
        return tuple(map(settle, node))
    return node


ARRAYS = {
    'numpy.ndarray': Call(reconstruct),
    'numpy.dtype': Call(Dtype),
    # Bytes are pickled so by protocol 2.
    '_codecs.encode': Call(lambda text, _='latin1': text.encode('latin1')),
}
# numpy 1 called its core "numpy.core".
for _core in ('numpy._core', 'numpy.core'):
    ARRAYS[f'{_core}.multiarray._reconstruct'] = Call(reconstruct)
    ARRAYS[f'{_core}.multiarray.scalar'] = Call(scalar)
    # Arrays are pickled so by protocol 5.
    ARRAYS[f'{_core}.numeric._frombuffer'] = Call(
        lambda data, dtype, shape, order: (
            np.frombuffer(data, dtype.numpy).reshape(shape, order=order).copy()
        )
    )
