"""Lists, class folders and name files of every content."""

import os.path as osp
import shutil
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from lift_mm.clip.names import clean_name, read_class_names
from lift_mm.datasets import LongTailFolder, LongTailList

CLASSES = ['fox', 'owl', 'yak', 'elk']
# Text that a UTF-8 file can hold.
TEXT = st.text(st.characters(codec='utf-8'), max_size=12)
PATH = st.text(st.sampled_from('ab/. é\t日'), min_size=1, max_size=6)
LABEL = st.integers(-1, 5).map(str) | st.sampled_from(
    ['٣', '²', '1.0', '+1', '0x1', '1_0', '9' * 20, '9' * 5000, '']
)
GOOD = st.tuples(st.sampled_from('abcdefgh'), st.integers(0, 3))
LINE = st.one_of(
    GOOD.map(lambda pair: f'{pair[0]}.jpg {pair[1]}'),
    st.tuples(PATH, LABEL).map(' '.join),
    st.sampled_from(['', ' ', '\t', '\x0c']),
    TEXT,
)
LISTS = st.tuples(
    st.sampled_from(['', '\ufeff']),
    st.lists(LINE, max_size=6),
    st.sampled_from(['\n', '\r\n', '\r']),
)


def model(text):
    """Read a list in the plainest way.

    Returns:
        The pairs, or what a message has to say.
    """
    text = text.removeprefix('\ufeff').replace('\r\n', '\n')
    rows = []
    for number, line in enumerate(text.replace('\r', '\n').split('\n'), 1):
        words = line.split()
        if not words:
            continue
        label = words[-1]
        if len(words) < 2 or not label.isdecimal() or len(label) > 18:
            return f'line {number},'
        rows.append((line.strip()[: -len(label)].rstrip(), int(label), number))
    known = {}
    for path, label, number in rows:
        if known.setdefault(path, label) != label:
            return f'in line {number};'
    if not rows:
        return 'no image'
    if max(known.values()) >= len(CLASSES):
        return f'none of 0..{len(CLASSES) - 1}'
    return [(path, label) for path, label, _ in rows]


def read(folder, text, prefix=''):
    (folder / 'list.txt').write_bytes(text.encode())
    return LongTailList(
        'list.txt',
        data_root=str(folder),
        data_prefix=prefix,
        classes=CLASSES,
        check_files='none',
        test_mode=True,
        allow_outside=True,  # paths are the affair of other tests
    )


@given(LISTS)
@example(('', ['a.jpg 1', '', 'b c.jpg 2'], '\r\n'))
@example(('\ufeff', ['a.jpg 1', 'a.jpg 2'], '\n'))
@example(('', ['a.jpg 1', 'a.jpg 2', 'b'], '\n'))
@example(('', ['a.jpg ' + '9' * 5000], '\n'))
@example(('', ['a\u2028b.jpg 0'], '\n'))
def test_a_list_is_read_exactly_or_refused_by_line(folder, parts):
    start, lines, end = parts
    text = start + end.join(lines)
    expected = model(text)
    if isinstance(expected, str):
        with pytest.raises(ValueError) as caught:
            read(folder, text)
        assert expected in str(caught.value)
        return
    data = read(folder, text, 'images')
    infos = [data.get_data_info(index) for index in range(len(data))]
    root = osp.join(folder, 'images')
    found = [(info['img_path'], info['gt_label']) for info in infos]
    assert found == [(osp.join(root, path), n) for path, n in expected]


@given(st.binary(max_size=40))
@example(b'\xff\xfea\x00')
@example(b'a.jpg 1\x00')
def test_a_list_of_any_bytes_raises_nothing_else(folder, content):
    (folder / 'list.txt').write_bytes(content)
    try:
        data = LongTailList(
            str(folder / 'list.txt'),
            classes=CLASSES,
            check_files='none',
            test_mode=True,
        )
    except ValueError as error:
        assert 'list.txt' in str(error)
    else:
        assert len(data) and sum(data.metainfo['class_counts']) == len(data)


# Of what a name may consist, less what ends a line.
NAMES = st.lists(
    st.text(
        st.characters(codec='utf-8', exclude_characters='\r\n'), min_size=1
    ).map(str.strip),
    min_size=1,
    max_size=5,
).filter(all)


@given(NAMES, st.sampled_from(['\n', '\r\n']))
@example(['a\u2028b', 'c'], '\n')
@example(['a\x1cb', 'c'], '\n')
def test_names_come_back_from_their_file(folder, names, end):
    assume(not names[0].startswith('\ufeff'))
    (folder / 'names.txt').write_bytes((end.join(names) + end).encode())
    assert read_class_names(str(folder / 'names.txt')) == names


# Names of folders that Linux, Windows and macOS can write.
FOLDERS = st.text(
    st.characters(categories=['Lu', 'Ll', 'Nd', 'Lo'])
    | st.sampled_from('_ -.'),
    min_size=1,
    max_size=8,
).filter(lambda name: name.strip('. ') == name)


@given(st.sets(FOLDERS, min_size=1, max_size=4), st.data())
def test_folders_are_classes_in_sorted_order(folder, names, data):
    root = folder / 'classes'
    shutil.rmtree(root, ignore_errors=True)
    counts = {}
    for name in sorted(names):
        counts[name] = data.draw(st.integers(1, 3))
        for number in range(counts[name]):
            write_image(root / name / f'{number}.png')
    if {name.lower() for name in names} <= {'train', 'val', 'test', 'valid'}:
        with pytest.raises(ValueError, match='no classes'):
            LongTailFolder(str(root), split='')
        return
    found = LongTailFolder(str(root), split='')
    assert found.metainfo['classes'] == tuple(map(clean_name, sorted(names)))
    assert found.metainfo['class_counts'] == list(counts.values())
    for index in range(len(found)):
        info = found.get_data_info(index)
        owner = Path(info['img_path']).parent.name
        assert owner == sorted(names)[info['gt_label']]


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (2, 2)).save(path)
