"""The cache: whole entries of the very question, or none."""

import multiprocessing
import os
import shutil

import pytest
import torch
from parity_models import ARCH, clip_file
from safetensors.torch import save_file

from lift_mm.clip import cache, text

FOUND = dict(text=torch.arange(12.0).reshape(3, 4), proj=torch.ones(2, 2))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('LIFT_MM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def lines(monkeypatch):
    """Give what the log gets."""
    found = []
    monkeypatch.setattr(cache, 'print_log', lambda x, logger: found.append(x))
    return found


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one
    )


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE = dict(
    empty=lambda path: path.write_bytes(b''),
    torn=lambda path: path.write_bytes(path.read_bytes()[:-5]),
    pickle=lambda path: torch.save(FOUND, path),
    bit=flip_a_bit,
    foreign=lambda path: save_file(FOUND, path),
    other=lambda path: (
        cache.write_cache('other', FOUND),
        shutil.copy(path.with_name('other.safetensors'), path),
    ),
)


@pytest.mark.parametrize('damage', DAMAGE)
def test_damaged_entries_are_computed_anew(folder, lines, damage):
    cache.write_cache('entry', FOUND)
    assert equal(cache.read_cache('entry'), FOUND)
    path = folder / 'entry.safetensors'
    DAMAGE[damage](path)
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cache, 'print_log', lambda line, logger: lines.append(line)
        )
        assert cache.read_cache('entry') is None
    assert len(lines) == 1 and 'entry.safetensors' in lines[0]
    cache.write_cache('entry', FOUND)
    assert equal(cache.read_cache('entry'), FOUND)


def test_a_run_goes_on_after_a_torn_entry(folder, tmp_path):
    ask = (['T-shirt'], ['{}'], ARCH, clip_file(tmp_path))
    want, _ = text.class_embeddings(*ask)
    (entry,) = folder.iterdir()
    DAMAGE['torn'](entry)
    assert torch.equal(text.class_embeddings(*ask)[0], want)
    assert cache.read_cache(entry.stem) is not None


@pytest.mark.parametrize('place', ['a file', 'no rights'])
def test_an_unwritable_cache(folder, lines, place, monkeypatch):
    lines = []
    monkeypatch.setattr(
        cache, 'print_log', lambda line, logger: lines.append(line)
    )
    if place == 'a file':
        folder.write_bytes(b'')
    else:  # root may write everywhere

        def refuse(*_, **__):
            raise PermissionError(13, 'Permission denied', str(folder))

        monkeypatch.setattr(os, 'makedirs', refuse)
    cache.write_cache('entry', FOUND)
    assert cache.read_cache('entry') is None
    assert len(lines) == 1 and lines[0].startswith('Not cached: ')


def test_a_full_disk_leaves_nothing(folder, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    cache.write_cache('entry', FOUND)
    assert list(folder.iterdir()) == []


def hammer(number, failures):
    for _ in range(50):
        cache.write_cache('entry', FOUND)
        found = cache.read_cache('entry')
        if found is None or not equal(found, FOUND):
            failures.put(number)


def test_four_processes_write_at_once(folder):
    fork = multiprocessing.get_context('fork')
    failures = fork.SimpleQueue()
    processes = [
        fork.Process(target=hammer, args=(number, failures))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert failures.empty()
    assert os.listdir(folder) == ['entry.safetensors']


def test_questions_differ_in_all_that_counts(tmp_path):
    path = clip_file(tmp_path)
    ask = dict(
        arch=ARCH,
        path=path,
        quick_gelu=None,
        names=['a', 'b'],
        templates=['{}'],
    )
    other = tmp_path / 'other.pt'
    other.write_bytes(open(path, 'rb').read() + b'x')
    shorter = {**ARCH, 'text_cfg': {**ARCH['text_cfg'], 'context_length': 9}}
    changes = [
        {},
        dict(path=str(other)),
        dict(names=['b', 'a']),
        dict(names=['a b']),
        dict(templates=['a {}']),
        dict(quick_gelu=True),
        dict(arch=shorter),  # the tokenizer reads as many
    ]
    entries = {text._entry(**{**ask, **change}) for change in changes}
    assert len(entries) == len(changes)
