"""Finding lists, and writing them whole."""

import os

import pytest
from tiny_benchmarks import tiny

from lift_mm.datasets.published import (
    difference,
    search_folders,
    write_files,
)
from lift_mm.datasets.published.files import find_list

FACTS = tiny('places-lt')[0].lists[0]


@pytest.mark.parametrize(
    'name',
    [
        'Places_LT_train.txt',
        'Places_LT/Places_LT_train.txt',
        'Places_LT/train.txt',
        'datasets/Places_LT/train.txt',
        'lists/Places_LT_train.txt',
    ],
)
def test_names_of_lists(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'train.txt').touch()  # of some other data
    folders = search_folders(tmp_path, 'Places_LT')
    assert find_list(folders, 'Places_LT', FACTS) is None
    path.touch()
    assert find_list(folders, 'Places_LT', FACTS) == path
    if path.parent.name == 'Places_LT':  # named by itself
        folders = search_folders(path.parent, 'Places_LT')
        assert find_list(folders, 'Places_LT', FACTS) == path


@pytest.mark.parametrize(
    'there, said',
    [
        ('a 0\nb 1\n', ''),
        ('\ufeffa 0\r\n\r\nb 1', ''),
        ('a 0\nc 1\n', "image 2 is 'c 1' instead of 'b 1'"),
        ('a 0\n', "image 2 is None instead of 'b 1'"),
        ('a 0\nb 1\nc 2', "image 3 is 'c 2' instead of None"),
    ],
)
def test_difference(tmp_path, there, said):
    path = tmp_path / 'x.txt'
    path.write_bytes(there.encode())
    assert difference(path, 'a 0\nb 1\n') == said


def test_none_is_written_if_one_cannot_be(tmp_path):
    good, bad = tmp_path / 'new' / 'a.txt', tmp_path / 'file' / 'b.txt'
    (tmp_path / 'file').touch()
    with pytest.raises(OSError):
        write_files({good: 'a\n', bad: 'b\n'})
    assert os.listdir(good.parent) == []
    write_files({good: 'a\n'})
    assert os.listdir(good.parent) == ['a.txt']
    assert good.read_bytes() == b'a\n'
