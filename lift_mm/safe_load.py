"""Reading checkpoints without ever running code from them.

``torch.load(weights_only=True)`` refuses what an mmengine runner writes: the
training log (``HistoryBuffer``) is made of numpy arrays and of ``getattr``.
Allowing those by name would open the door again: ``getattr`` reaches
everything, and numpy builds a dtype from a pickle unchecked. So the names are
read as stand-ins, which take numbers and nothing else.
"""

import os
import os.path as osp
import pickle
import re

import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, print_log

from . import whole_files
from .safe_pickle import Array, Dtype, reconstruct, scalar, settle

_STATISTICS = ('min', 'max', 'current', 'mean')


def load_file(path: str | os.PathLike, map_location='cpu') -> dict:
    """Read a local checkpoint.

    Args:
        path: A ``.safetensors`` file, or one of ``torch.save``: weights, or
            everything that a runner saves.
        map_location: As in :func:`torch.load`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or it wants to load foreign code.
    """
    path = osp.expanduser(path)
    if not osp.isfile(path):
        raise FileNotFoundError(f'Checkpoint "{path}" does not exist.')
    if whole_files.breaks_seal(path):  # torch itself would not notice
        raise ValueError(
            f'Checkpoint "{path}" is damaged: its bytes are not those that '
            'were written; take another one, or copy it again.'
        )
    try:
        if path.endswith('.safetensors'):
            return _load_safetensors(path, map_location)
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError:
        return _load_runner(path, map_location)
    except OSError:  # names the file and says why
        raise
    # A file that is no checkpoint can make any line of the unpickler fail.
    except Exception as error:
        raise refusal(path, error) from error


def refusal(path: str, error: Exception, advice: str = '') -> ValueError:
    """Say in one sentence why a checkpoint is not read.

    The text of torch itself advises to switch its protection off.
    """
    text = str(error)
    found = re.search(r'GLOBAL (?:builtins\.)?(\S+)', text)
    if found:
        advice = advice or (
            'save its "state_dict" alone, in tensors, numbers, strings, '
            'lists and dicts'
        )
        return ValueError(
            f'Checkpoint "{path}" is refused because it asks for '
            f'"{found[1]}", which could run code: {advice}.'
        )
    if 'TorchScript' in text:
        reason = 'it is a TorchScript archive, save its state_dict() instead.'
    elif isinstance(error, (RuntimeError, safetensors.SafetensorError)):
        reason = text.strip().split('\n')[0]
    else:
        reason = 'it is damaged or was not written by torch.save.'
    return ValueError(f'Checkpoint "{path}" cannot be read: {reason}')


def _load_safetensors(path: str, map_location) -> dict:
    named = isinstance(map_location, (str, torch.device))
    return safetensors.torch.load_file(
        path, device=str(map_location) if named else 'cpu'
    )


def _load_runner(path: str, map_location) -> dict:
    with torch.serialization.safe_globals(_runner_globals()):
        try:
            loaded = torch.load(
                path, map_location=map_location, weights_only=True
            )
        # A crafted file can make any line of the unpickler fail.
        except Exception as error:
            raise refusal(path, error) from error
    print_log(
        f'{path} is a full runner checkpoint: its training log is read by an '
        'allow list.',
        logger='current',
    )
    return settle(loaded)


def _no_bytes() -> bytes:
    return b''  # how an empty array is pickled


def _getattr(owner: object, name: str) -> object:
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(owner, name)
    owner = getattr(owner, '__name__', type(owner).__name__)
    raise pickle.UnpicklingError(f'GLOBAL getattr({owner},{name!r})')


def _runner_globals() -> list:
    allowed = [
        HistoryBuffer,
        (Array, 'numpy.ndarray'),
        (Dtype, 'numpy.dtype'),
        (_no_bytes, 'builtins.bytes'),
        (_getattr, 'builtins.getattr'),
    ]
    # numpy 1 called its core "numpy.core".
    for core in ('numpy._core', 'numpy.core'):
        allowed.append((reconstruct, f'{core}.multiarray._reconstruct'))
        allowed.append((scalar, f'{core}.multiarray.scalar'))
    return allowed
