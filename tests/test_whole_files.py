"""Files that are whole or not there, and that show any damage."""

import errno
import os
import resource
import zipfile

import pytest
import torch
from mmengine.runner import load_checkpoint

from lift_mm import whole_files
from lift_mm.safe_load import load_file

STATE = dict(state_dict=dict(weight=torch.arange(500.0), bias=torch.ones(3)))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    whole_files.save(STATE, path)
    return path


@pytest.fixture
def small_files():
    """Let the system refuse to write more than a thousand bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('mmap', [False, True])
def test_torch_reads_a_sealed_file(path, mmap):
    loaded = torch.load(path, weights_only=True, mmap=mmap)
    torch.testing.assert_close(loaded, STATE, rtol=0, atol=0)


def test_mmengine_reads_a_sealed_file(path):
    model = torch.nn.Linear(500, 1, bias=False)
    model.weight = torch.nn.Parameter(torch.zeros(500))
    load_checkpoint(model, str(path))
    assert torch.equal(model.weight.data, STATE['state_dict']['weight'])


def test_only_the_file_is_there(path):
    assert os.listdir(path.parent) == [path.name]
    assert whole_files.damage(path) is None


def test_every_changed_byte_is_seen(path):
    content = path.read_bytes()
    for position in range(0, len(content), 37):
        changed = bytearray(content)
        changed[position] ^= 16
        path.write_bytes(changed)
        # Where the seal itself is spoiled the checksums of the entries hold.
        try:
            loaded = load_file(path)
        except ValueError as error:
            assert str(path) in str(error)
            assert '\n' not in str(error)
            continue
        torch.testing.assert_close(loaded, STATE, rtol=0, atol=0)
        assert len(content) - position < 120


def test_every_cut_is_seen(path):
    content = path.read_bytes()
    for size in {*range(0, len(content), 97), *range(len(content))[-120:]}:
        path.write_bytes(content[:size])
        assert whole_files.damage(path), size


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'', 'it is empty'),
        (bytes(5000), 'it is no archive'),
        (b'PK\3\4' + bytes(5000), 'it ends too early'),
        (None, 'it is not there'),
    ],
)
def test_reasons(path, content, reason):
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert whole_files.damage(path) == reason


def test_files_of_others_are_judged_by_their_checksums(path):
    torch.save(STATE, path)
    assert whole_files.damage(path) is None
    assert not whole_files.breaks_seal(path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(500.0).numpy().tobytes())
    content[at + 40] ^= 1
    path.write_bytes(content)
    assert 'wrong checksum' in whole_files.damage(path)


def test_no_other_comment_is_taken_for_a_seal(path):
    torch.save(STATE, path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.comment = b'lift_mm sha257 ' + bytes(64)
    assert whole_files.damage(path) is None


def test_full_disk_keeps_what_was_there(path, small_files):
    before = path.read_bytes()
    big = dict(STATE, more=torch.zeros(10000))
    with pytest.raises(OSError) as caught:
        whole_files.save(big, path)
    text = str(caught.value)
    assert str(path) in text and 'File too large' in text
    assert 'the one before it stays' in text
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_unwritable_folder(tmp_path):
    path = tmp_path / 'none' / 'epoch_1.pth'
    with pytest.raises(OSError, match='No such file.*none is there'):
        whole_files.save(STATE, path)


def test_text(tmp_path):
    path = tmp_path / 'last_checkpoint'
    for text in ('epoch_10.pth', 'é'):
        whole_files.write_text(text, path)
        assert path.read_text(encoding='utf-8') == text


def test_parts_of_killed_processes(path):
    (path.parent / '.epoch_2.pth.part').write_bytes(b'PK')
    (path.parent / 'own.part').touch()
    assert whole_files.remove_parts(path.parent) == ['.epoch_2.pth.part']
    assert sorted(os.listdir(path.parent)) == ['epoch_1.pth', 'own.part']
    assert whole_files.remove_parts(path.parent / 'none') == []
