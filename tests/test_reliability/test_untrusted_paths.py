"""Lists and folders from anywhere: nothing outside of the root is read."""

import pytest
from picture_files import PHOTO

from lift_mm.datasets import ImageNetLT, LongTailFolder, LongTailList
from lift_mm.datasets.paths import leaves


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PHOTO.resize((8, 8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Give ``data/{train,val}/{a,b}`` beside a folder ``secret``."""
    for split in ('train', 'val'):
        for kind in ('a', 'b'):
            write(tmp_path / 'data' / split / kind / '0.png')
    write(tmp_path / 'secret/c/0.png')
    return tmp_path / 'data'


def listed(root, *paths, cls=LongTailList, **keys):
    lines = ''.join(f'{path} 0\n' for path in paths)
    (root / 'list.txt').write_text(lines)
    keys = dict(classes=['a'], data_root=str(root)) | keys
    return cls(ann_file='list.txt', **keys)


@pytest.mark.parametrize('cls', [LongTailList, ImageNetLT])
@pytest.mark.parametrize(
    'path',
    ['../secret/c/0.png', 'train/../../secret/c/0.png', '{secret}/c/0.png'],
)
def test_paths_that_leave(root, path, cls):
    path = path.format(secret=root.parent / 'secret')
    match = rf'list.txt., line 2, names .{path}.*`allow_outside=True`'
    with pytest.raises(ValueError, match=match) as seen:
        listed(root, 'train/a/0.png', path, cls=cls)
    assert '\n' not in str(seen.value)
    dataset = listed(root, 'train/a/0.png', path, allow_outside=True)
    assert len(dataset) == 2


@pytest.mark.parametrize(
    'path',
    ['..', 'a/..', 'a\\..\\b', '/a', '\\a', '~/a', '~root/a', 'C:\\a', 'C:/a'],
)
def test_every_system_can_be_left(path):
    assert leaves(path)


@pytest.mark.parametrize('path', ['a', 'a..b/c', '...', 'a/.b/c..', 'ä b/c'])
def test_odd_names_stay(path):
    assert not leaves(path)


def test_links_out_of_a_list(root):
    (root / 'more').symlink_to(root.parent / 'secret')
    (root / 'again').symlink_to(root / 'train')  # leads inside
    assert len(listed(root, 'again/a/0.png')) == 1
    match = r"more/c' leads by a link to '.*secret/c', out of .*allow_outside"
    with pytest.raises(ValueError, match=match):
        listed(root, 'train/a/0.png', 'more/c/0.png')
    assert len(listed(root, 'more/c/0.png', allow_outside=True)) == 1


@pytest.mark.parametrize('link', ['train', 'train/c', 'train/a/c.png'])
def test_links_out_of_a_folder(root, link):
    """A split, a class or an image."""
    outside = root.parent / 'outside'
    if link == 'train':
        (root / 'train').rename(outside)
        (root / link).symlink_to(outside)
    else:
        target = 'secret/c' if link == 'train/c' else 'secret/c/0.png'
        (root / link).symlink_to(root.parent / target)
    with pytest.raises(ValueError, match=r'a link to .*`allow_outside=True`'):
        LongTailFolder(str(root))
    size = len(LongTailFolder(str(root), allow_outside=True))
    assert size == 2 + (link != 'train')


def test_the_root_may_be_a_link(root):
    link = root.parent / 'link'
    link.symlink_to(root)
    (root / 'class_names.txt').write_text('x\ny\n')
    assert len(LongTailFolder(str(link))) == 2
    assert len(listed(root, 'val/a/0.png', data_root=str(link))) == 1


def test_names_that_lie_outside(root):
    """What a linked file holds would be written into checkpoints."""
    (root.parent / 'secret/words').write_text('pass\nword\n')
    (root / 'class_names.txt').symlink_to(root.parent / 'secret/words')
    with pytest.raises(ValueError, match='class_names.txt.*allow_outside'):
        LongTailFolder(str(root))
    names = LongTailFolder(str(root), allow_outside=True).metainfo['classes']
    assert names == ('pass', 'word')
    with pytest.raises(ValueError, match='class_names.txt.*allow_outside'):
        listed(root, 'val/a/0.png', classes=None)


@pytest.mark.parametrize('allow_outside', [True, False])
def test_a_folder_linked_into_itself(root, allow_outside):
    (root / 'train/a/again').symlink_to(root / 'train')
    with pytest.raises(ValueError, match='a link to a folder that it lies in'):
        LongTailFolder(str(root), allow_outside=allow_outside)


def test_each_folder_is_resolved_once(root, monkeypatch):
    """Half a million lines are read in seconds."""
    asked = []
    monkeypatch.setattr(
        'lift_mm.datasets.long_tail_list.refuse_outside',
        lambda path, _: asked.append(path),
    )
    lines = [f'train/a/{number}.png' for number in range(1000)]
    listed(root, *lines, check_files='none')
    assert asked == [str(root / 'train/a')]


@pytest.mark.parametrize('digits', ['9' * 5000, '9' * 19, '-1', '1.5'])
def test_labels_that_are_no_numbers(root, digits):
    (root / 'list.txt').write_text(f'train/a/0.png {digits}\n')
    with pytest.raises(ValueError, match='line 1, is .*a whole') as seen:
        LongTailList('list.txt', str(root), classes=['a'])
    assert len(str(seen.value)) < 600
