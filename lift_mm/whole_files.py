"""Files that are whole or not there, and that show damage when read.

A file is written under another name, forced to the disk, and renamed: a kill,
a power cut or a full disk leaves the file before it as it was. An archive of
``torch.save`` carries the SHA-256 of its bytes as the zip comment, which every
reader skips: torch itself does not notice changed bytes in the tensors.
"""

import contextlib
import hashlib
import io
import os
import os.path as osp
import zipfile

import torch

_MAGIC = b'PK\3\4'
_MARK = b'lift_mm sha256 '
_SEAL = len(_MARK) + hashlib.sha256().digest_size * 2
# The last field of an archive: the length of the comment behind it.
_LENGTH = 2


def save(obj: object, path: str | os.PathLike) -> None:
    """Write what ``torch.save`` makes of an object, sealed and whole.

    Args:
        obj: As for ``torch.save``.
        path: A local file, replaced if it is there.

    Raises:
        OSError: The file cannot be written; one that was there stays.
    """
    # In memory first: torch's own writer hides why a disk refused its bytes.
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    write(seal(buffer.getvalue()), path)


def seal(archive: bytes) -> bytes:
    """Append the SHA-256 of an archive to it; other bytes stay as they are."""
    if not archive.startswith(_MAGIC) or archive[-_LENGTH:] != b'\0\0':
        return archive
    digest = hashlib.sha256(archive).hexdigest().encode()
    length = _SEAL.to_bytes(_LENGTH, 'little')
    return archive[:-_LENGTH] + length + _MARK + digest


def write(data: bytes, path: str | os.PathLike) -> None:
    """Replace a local file by these bytes, or leave it as it is.

    Raises:
        OSError: The reason, in one sentence that names the file.
    """
    path = osp.abspath(osp.expanduser(path))
    folder, name = osp.split(path)
    part = osp.join(folder, f'.{name}.part')
    try:
        with open(part, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        kept = 'the one before it stays' if osp.exists(path) else 'none is'
        raise OSError(
            error.errno,
            f'"{path}" could not be written ({error.strerror}), {kept} there.',
        ) from error
    _sync_folder(folder)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Replace a local text file, see :func:`write`."""
    write(text.encode(), path)


def remove_parts(folder: str | os.PathLike) -> list[str]:
    """Remove what killed processes were writing into a folder.

    Returns:
        list[str]: The names of the removed files.
    """
    if not osp.isdir(folder):
        return []
    parts = [
        name
        for name in os.listdir(folder)
        if name.startswith('.') and name.endswith('.part')
    ]
    for name in parts:
        with contextlib.suppress(FileNotFoundError):
            os.remove(osp.join(folder, name))
    return parts


def is_archive(path: str | os.PathLike) -> bool:
    """Say whether a file begins as an archive of ``torch.save`` does."""
    with open(path, 'rb') as file:
        return file.read(len(_MAGIC)) == _MAGIC


def damage(path: str | os.PathLike) -> str | None:
    """Say what is wrong with an archive; None for one that is whole.

    An archive without a seal, which others have written, is judged by the
    checksums of its entries.

    Args:
        path: A file of ``torch.save``.

    Returns:
        A clause as 'it is empty'.
    """
    try:
        if osp.getsize(path) == 0:
            return 'it is empty'
        if not is_archive(path):
            return 'it is no archive'
        if not zipfile.is_zipfile(path) or _ends_in_comment(path):
            return 'it ends too early'
        stored = _stored_seal(path)
        if stored is None:
            return _wrong_checksum(path)
        if stored != _digest(path):
            return 'its bytes are not those that were written'
    except FileNotFoundError:
        return 'it is not there'
    return None


def breaks_seal(path: str | os.PathLike) -> bool:
    """Say whether a file has a seal and other bytes than were sealed."""
    stored = _stored_seal(path)
    return stored is not None and stored != _digest(path)


def _sync_folder(folder: str) -> None:
    """Make a rename last through a power cut."""
    # Not every system opens folders, nor every network disk syncs them.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stored_seal(path: str | os.PathLike) -> bytes | None:
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _SEAL))
        comment = file.read()
    if not comment.startswith(_MARK):
        return None
    return comment[len(_MARK) :]


def _ends_in_comment(path: str | os.PathLike) -> bool:
    """Whether the comment is shorter than announced; zipfile allows it."""
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 22 - _SEAL))
        tail = file.read()
    end = tail.rfind(b'PK\5\6') + 22  # the last record, without comment
    announced = int.from_bytes(tail[end - _LENGTH : end], 'little')
    return end >= 22 and len(tail) - end < announced


def _digest(path: str | os.PathLike) -> bytes:
    """Hash an archive as it was before it got its comment."""
    digest = hashlib.sha256()
    rest = osp.getsize(path) - _SEAL - _LENGTH
    with open(path, 'rb') as file:
        while rest > 0 and (chunk := file.read(min(rest, 1 << 20))):
            digest.update(chunk)
            rest -= len(chunk)
    digest.update(bytes(_LENGTH))
    return digest.hexdigest().encode()


def _wrong_checksum(path: str | os.PathLike) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.testzip()
    # A damaged table of contents can make any line of the reader fail.
    except Exception as error:
        return f'its table of contents is damaged ({error})'
    return f'its entry {entry} has a wrong checksum' if entry else None
