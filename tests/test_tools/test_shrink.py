"""shrink.py copies a folder of images with fewer pixels."""

import errno
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from miniature import REPO, photo
from PIL import Image
from tiny_benchmarks import lay, save, taxonomy, tiny

from lift_mm.datasets import (
    ImageNetLT,
    INaturalist2018,
    LongTailFolder,
    LongTailList,
    PlacesLT,
)
from lift_mm.datasets.shrink import shrink_file

PATH = REPO / 'tools/dataset_converters/shrink.py'


def load_tool():
    spec = importlib.util.spec_from_file_location('shrink', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()


def run(*args):
    return TOOL.main([*map(str, args), '--short-side', '24', '--jobs', '2'])


def state(root):
    """Give all files below a folder with content and time."""
    return {
        str(path.relative_to(root)): (
            path.read_bytes(),
            path.stat().st_mtime_ns,
        )
        for path in root.rglob('*')
        if path.is_file()
    }


def content(root):
    return {
        path: data
        for path, (data, _) in state(root).items()
        if path != TOOL.MARKER
    }


def size(path):
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def photos(tmp_path):
    """Two large photos and a small one, and other files."""
    root = tmp_path / 'photos'
    photo(root / 'cat/Large one.JPG', 0)
    photo(root / 'dog/large.png', 1)
    photo(root / 'dog/small.jpg', 2, (30, 24))
    (root / 'class_names.txt').write_text('Katze\nHund\n')
    (root / 'list.txt').write_text('cat/Large one.JPG 0\n')
    return root


def test_copies(photos, tmp_path, capsys):
    out = tmp_path / 'new/out'
    before = state(photos)
    assert run(photos, out, '--dry-run') == 0
    assert '3 images and 2 other files; of 3' in capsys.readouterr().out
    assert not out.parent.exists()
    assert run(photos, out) == 0
    said = capsys.readouterr().out
    assert '2 images shrunk to a short side of 24, 1 copied as they' in said
    assert '2 other files copied, 0 files were there' in said
    assert state(photos) == before
    after = state(out)
    settings = json.loads(after.pop(TOOL.MARKER)[0])
    assert settings == dict(short_side=24, quality=95)
    assert after.keys() == before.keys()
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {'cat/Large one.JPG', 'dog/large.png'}
    assert size(out / 'cat/Large one.JPG') == (32, 24)
    with Image.open(out / 'dog/large.png') as image:
        assert image.format == 'PNG' and image.size == (32, 24)
    for path in before:
        assert after[path][1] == before[path][1]
        assert os.stat(out / path).st_ino != os.stat(photos / path).st_ino
    # A shrunken folder can be shrunk again.
    os.utime(out / TOOL.MARKER, (0, 0))
    assert TOOL.main([str(out), str(tmp_path / 'b'), '--short-side=8']) == 0
    assert size(tmp_path / 'b/dog/small.jpg') == (10, 8)
    assert json.loads((tmp_path / 'b' / TOOL.MARKER).read_text()) == dict(
        short_side=8, quality=95
    )


def test_second_run_goes_on(photos, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(photos, out) == 0
    whole = state(out)
    (out / 'dog/large.png').unlink()
    kept = os.stat(out / 'cat/Large one.JPG').st_ino
    capsys.readouterr()
    assert run(photos, out) == 0
    said = capsys.readouterr().out
    assert '1 images shrunk' in said and '4 files were there' in said
    assert content(out) == {x: y[0] for x, y in whole.items() if x[0] != '.'}
    assert os.stat(out / 'cat/Large one.JPG').st_ino == kept
    assert run(photos, out, '--force') == 0
    assert '0 files were there' in capsys.readouterr().out

    done = state(out)
    for change in ('--short-side=23', '--quality=90'):
        assert TOOL.main([str(photos), str(out), '--force', change]) == 1
        said = capsys.readouterr().out
        assert "was made with {'short_side': 24, 'quality': 95}" in said
    assert state(out) == done


def test_interruption(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / 'out'

    def track(done, *_, **__):
        yield next(done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TOOL, 'track', track)
        assert run(photos, out) == 1
    assert 'Stopped: interrupted; run again' in capsys.readouterr().out
    assert not list(out.rglob('*.part'))
    assert run(photos, out) == 0
    assert content(out).keys() == content(photos).keys()


def test_full_disk(photos, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('lift_mm.datasets.shrink.os.replace', full)
        with pytest.raises(OSError, match='No space left'):
            shrink_file('list.txt', str(photos), str(tmp_path / 'out'), 24)
        assert not state(tmp_path / 'out')
    monkeypatch.setattr(TOOL, 'outcomes', full)
    assert run(photos, tmp_path / 'new') == 1
    said = capsys.readouterr().out
    assert 'Stopped: [Errno 28] No space left on device; run again' in said


def test_what_cannot_be_shrunk_is_named(photos, tmp_path, capsys):
    whole = (photos / 'cat/Large one.JPG').read_bytes()
    bad = {
        'cat/cut.jpg': whole[: len(whole) // 2],
        'cat/empty.jpg': b'',
        'cat/text.png': b'not found',
    }
    for path, data in bad.items():
        (photos / path).write_bytes(data)
    Image.new('L', (40, 40)).save(photos / 'cat/gif.png', 'GIF')
    (photos / 'dog/gone.jpg').symlink_to('nowhere')
    os.mkfifo(photos / 'dog/pipe')
    out = tmp_path / 'out'
    for there in (0, 5):  # a second run tells it again
        assert run(photos, out) == 1
        said = capsys.readouterr().out
        assert f'{there} files were there' in said
        assert '6 files could not be shrunk' in said
        for path in (*bad, 'cat/gif.png', 'dog/gone.jpg', 'dog/pipe'):
            assert f"- '{path}' (" in said
        assert 'GIF files are not written' in said
        assert "'dog/gone.jpg' (no copy: [Errno 2] No such file" in said
        assert "'dog/pipe' (no copy: no regular file)" in said
        for path, data in bad.items():
            assert (out / path).read_bytes() == data
        assert not os.path.lexists(out / 'dog/gone.jpg')
    for path in ('dog/gone.jpg', 'dog/pipe', 'cat/gif.png', *bad):
        (photos / path).unlink()
        photo(photos / 'cat/cut.jpg', 5)
    assert run(photos, out) == 0
    assert size(out / 'cat/cut.jpg') == (32, 24)


def test_only_listed_images(photos, tmp_path, capsys):
    (photos / 'two.txt').write_bytes(b'\xef\xbb\xbf./dog/large.png 3\r\n\r\n')
    out = tmp_path / 'out'
    lists = [photos / 'list.txt', photos / 'two.txt']
    assert run(photos, out, '--lists', *lists) == 0
    expected = set(content(photos)) - {'dog/small.jpg'}
    assert set(content(out)) == expected
    (photos / 'two.txt').write_text('dog/none.png 3\nlarge.png 1\n')
    assert run(photos, tmp_path / 'b', '--lists', *lists) == 1
    said = capsys.readouterr().out
    assert "2 of 3 images of the lists are not in SRC, first 'dog/no" in said
    assert run(photos, tmp_path / 'b', '--lists', tmp_path / 'none.txt') == 1
    assert 'none.txt' in capsys.readouterr().out
    assert not (tmp_path / 'b').exists()


def test_archives_are_left_out(photos, tmp_path, capsys):
    for name in ('images.tar', 'x.tar.gz', 'X.ZIP'):
        (photos / name).touch()
    assert run(photos, tmp_path / 'out') == 0
    assert "3 archives are left out, as 'X.ZIP'" in capsys.readouterr().out
    assert len(content(tmp_path / 'out')) == 5


@pytest.mark.parametrize(
    'source, target, said',
    [
        ('none', 'out', "SRC '.*none' is no folder"),
        ('photos/list.txt', 'out', "SRC '.*list.txt' is no folder"),
        ('photos', 'photos/list.txt', "DST '.*list.txt' is no folder"),
        ('photos', 'photos', 'the same or lie in each other'),
        ('photos', 'photos/small', 'the same or lie in each other'),
        ('photos/cat', 'photos', 'the same or lie in each other'),
        ('photos', 'other', "DST '.*other' holds files that this tool did"),
        ('other', 'out', 'SRC has no image'),
        ('empty', 'out', 'SRC has no image'),
    ],
)
def test_refusals(photos, tmp_path, capsys, source, target, said):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/thesis.txt').write_text('x')
    (tmp_path / 'empty').mkdir()
    before = state(tmp_path)
    assert run(tmp_path / source, tmp_path / target) == 1
    out = capsys.readouterr().out
    assert re.search(f'^Stopped: .*{said}', out) and out.count('\n') == 1
    assert state(tmp_path) == before and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'option', ['--short-side=0', '--quality=101', '--jobs=0']
)
def test_numbers(photos, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        TOOL.main([str(photos), str(tmp_path / 'out'), option])
    assert 'not from 1 to' in capsys.readouterr().err


def test_names_that_a_disk_cannot_tell_apart(tmp_path):
    paths = ['a/x.jpg', 'a/X.JPG', 'b/x.jpg']
    TOOL.refuse_collisions(tmp_path, paths)
    (tmp_path / TOOL.MARKER.upper()).touch()  # what such a disk would find
    TOOL.refuse_collisions(tmp_path, paths[1:])
    with pytest.raises(ValueError, match="2 names .* as 'a/x.jpg'"):
        TOOL.refuse_collisions(tmp_path, paths)


def items(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (os.path.relpath(info['img_path'], root), info['gt_label'])
        for info in infos
    ]


def assert_same(build, root, copy):
    before, after = build(str(root)), build(str(copy))
    assert items(after, copy) == items(before, root)
    for key in ('classes', 'class_counts'):
        assert after.metainfo[key] == before.metainfo[key]
    for i in range(len(after)):
        path = after.get_data_info(i)['img_path']
        assert (
            min(size(path))
            == 24
            < min(size(before.get_data_info(i)['img_path']))
        )


@pytest.mark.parametrize(
    'name, build',
    [
        ('imagenet-lt', ImageNetLT),
        ('places-lt', PlacesLT),
        ('inaturalist2018', INaturalist2018),
    ],
)
def test_benchmarks_read_their_copies(tmp_path, name, build):
    benchmark, texts = tiny(name)
    root, copy = tmp_path / 'root', tmp_path / 'copy'
    lay(root, benchmark, texts)
    for number, path in enumerate(sorted(root.rglob('*.JPEG'))):
        photo(path, number, (40, 30))
    save(root, texts)
    options = dict(check_files='all')
    if name == 'inaturalist2018':
        (root / 'categories.json').write_text(json.dumps(taxonomy()))
    else:
        options['classes'] = ['tench', 'goldfish', 'shark']
    lists = [root / file for file in texts]
    assert run(root, copy, '--lists', *lists) == 0
    for file in texts:
        assert_same(lambda folder: build(folder, file, **options), root, copy)  # noqa: B023


def test_lists_and_folders_read_their_copies(tmp_path):
    root, copy = tmp_path / 'root', tmp_path / 'copy'
    for number, name in enumerate(['sea_gull/ä b.JPG', 'ant/1.png'] * 3):
        photo(root / 'train' / f'{number}{name}', number)
        photo(root / 'val' / f'{number}{name}', number)
    (root / 'val/2sea_gull/ä b.JPG').unlink()
    names = ''.join(f'name {n}\n' for n in range(6))
    (root / 'class_names.txt').write_text(names)
    (root / 'val.txt').write_text('val/1ant/1.png 1\nval/0sea_gull/ä b.JPG 0')
    assert run(root, copy) == 0
    assert (copy / 'val/2sea_gull').is_dir()
    for split in ('train', 'val'):
        mode = dict(test_mode=split == 'val')
        assert_same(lambda x: LongTailFolder(x, split, **mode), root, copy)  # noqa: B023
    assert_same(
        lambda x: LongTailList('val.txt', x, test_mode=True), root, copy
    )


def test_as_a_program(photos, tmp_path):
    done = subprocess.run(
        [sys.executable, PATH, photos, tmp_path / 'out'],
        env=dict(os.environ, PYTHONPATH=str(REPO)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert '0 images shrunk to a short side of 256, 3 copied' in done.stdout


def test_command_of_the_page():
    page = (REPO / 'docs/datasets.md').read_text()
    (command,) = re.findall(r'^python \S+shrink\.py (.*)$', page, re.MULTILINE)
    args = TOOL.parse_args(shlex.split(command))
    assert args.src == 'data/imagenet' and args.short_side == 256


@pytest.mark.parametrize('text', ['', '{"short_side": 2', '[' * 10**5, 'null'])
def test_a_torn_or_foreign_note_of_the_settings(photos, tmp_path, text):
    """Nothing is written beside it."""
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / TOOL.MARKER).write_text(text)
    before = state(tmp_path / 'out')
    with pytest.raises(ValueError, match='did not write'):
        TOOL.refuse_mixture(tmp_path / 'out', dict(short_side=24))
    with pytest.raises(SystemExit):
        sys.exit(run(photos, tmp_path / 'out'))
    assert state(tmp_path / 'out') == before
