"""Damaged checkpoints, and identities that must not be mistaken."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from test_tuners.tiny_models import model_config

from lift_mm.registry import MODELS
from lift_mm.safe_load import load_file
from lift_mm.tuners.freeze import fingerprint

CONTENT = dict(
    state_dict={'a.weight': torch.arange(6.0).reshape(2, 3)},
    meta=dict(epoch=3, classes=['fox', 'owl'], rate=0.1),
    message_hub=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1])),
)


@pytest.fixture(scope='module')
def files(folder):
    """Give a checkpoint of each kind: its bytes by the file's name."""
    torch.save(dict(CONTENT, message_hub={}), folder / 'plain.pth')
    torch.save(CONTENT, folder / 'runner.pth')
    torch.save(
        CONTENT, folder / 'old.pth', _use_new_zipfile_serialization=False
    )
    safetensors.torch.save_file(
        CONTENT['state_dict'], folder / 'tensors.safetensors'
    )
    return {path.name: path.read_bytes() for path in folder.glob('*.*')}


KINDS = ['plain.pth', 'runner.pth', 'old.pth', 'tensors.safetensors']
DAMAGE = st.tuples(
    st.sampled_from(['cut', 'flip', 'pad', 'zero', 'drop']),
    st.integers(0, 10**6),
    st.integers(0, 255),
)


def damaged(data, kind, place, value):
    """Change a file in one place, wherever that falls."""
    place %= len(data)
    if kind == 'cut':
        return data[:place]
    if kind == 'pad':
        return data + bytes([value]) * (1 + place % 64)
    if kind == 'flip':
        flipped = data[place] ^ (1 << value % 8)
        return data[:place] + bytes([flipped]) + data[place + 1 :]
    width = 1 + value
    if kind == 'zero':
        return data[:place] + bytes(width) + data[place + width :]
    return data[:place] + data[place + width :]


@pytest.mark.parametrize('name', KINDS)
@settings(max_examples=250)
@given(DAMAGE)
def test_a_damaged_checkpoint_raises_nothing_but_value_errors(
    files, folder, name, damage
):
    path = folder / f'damaged-{name}'
    path.write_bytes(damaged(files[name], *damage))
    try:
        found = load_file(str(path))
    except ValueError as error:
        assert str(path) in str(error)
    else:  # perhaps with another number, or less of it
        kind = type(found).__module__.partition('.')[0]
        assert kind in (
            'builtins',
            'collections',
            'mmengine',
            'numpy',
            'torch',
        )


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@given(st.binary(max_size=60))
@example(b'')
@example(b'\x80\x02.')
@example(pickle.dumps([1, 2]))
def test_no_file_raises_anything_else(folder, suffix, content):
    path = folder / f'any{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_file(str(path))
    assert str(path) in str(caught.value)


CALLED = []


class Trap:
    """Calls something as soon as it is unpickled."""

    def __reduce__(self):
        return CALLED.append, (1,)


def containers(inner):
    """Give lists, dicts and tuples around something."""
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=2),
        st.tuples(inner),
    )


CARRIERS = st.recursive(st.builds(Trap), containers, max_leaves=4)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@given(CARRIERS, st.booleans(), st.integers(0, 5))
def test_no_code_runs_wherever_it_hides(folder, carrier, zipped, protocol):
    path = str(folder / 'trap.pth')
    torch.save(
        dict(state_dict={}, meta=carrier),
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(ValueError, match='refused|cannot be read'):
        load_file(path)
    assert not CALLED


NAME = st.text(st.sampled_from('ab\n\\_ é\ud800'), max_size=3)
NAMES = st.lists(NAME, min_size=3, max_size=3)


@pytest.fixture(scope='module')
def model():
    """Give a classifier of three classes."""
    return MODELS.build(model_config())


def identity(model, names):
    model.set_class_info(names)
    return bytes(model.fingerprint.tolist())


@given(NAMES, NAMES)
@example(['a\nb', 'c', 'd'], ['a', 'b\nc', 'd'])
@example(['a\\', 'nb', 'c'], ['a\\\\', 'nb', 'c'])
@example(['\ud800', 'b', 'c'], ['a', 'b', 'c'])
def test_other_class_names_have_another_identity(model, names, others):
    same = identity(model, names) == identity(model, others)
    assert same is (names == others)


STATE = st.dictionaries(
    st.sampled_from(['a', 'b', 'a.b']),
    st.tuples(
        st.sampled_from(['int8', 'uint8', 'float32', 'bool']),
        st.lists(st.integers(0, 1), max_size=4),
        st.booleans(),
    ),
    max_size=3,
)


def tensors(state):
    return {
        name: torch.from_numpy(
            np.array(values, dtype).reshape((1, -1) if flat else (-1,))
        )
        for name, (dtype, values, flat) in state.items()
    }


@given(STATE, STATE)
def test_other_weights_have_another_fingerprint(state, other):
    same = fingerprint(tensors(state)) == fingerprint(tensors(other))
    assert same is (state == other)
