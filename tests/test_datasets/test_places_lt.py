"""Places-LT: classes are named after the folders of the list."""

import pytest

from lift_mm.datasets import PlacesLT
from lift_mm.datasets.places_lt import folder_names


def lines(split='train'):
    # The labels need not follow the alphabet: in the published lists
    # desert_road comes before desert-sand.
    return [f'{split}/a-b_{364 - i}/{i}.jpg {i}' for i in range(365)]


def build(root, content, **kwargs):
    (root / 'Places_LT_train.txt').write_text('\n'.join(content))
    return PlacesLT(str(root), **dict(check_files='none') | kwargs)


def test_names(tmp_path):
    dataset = build(tmp_path, [*lines(), 'train/a-b_360/x.jpg 4'])
    classes = dataset.metainfo['classes']
    assert classes == tuple(f'a-b {364 - i}' for i in range(365))
    assert dataset.metainfo['class_counts'] == [1] * 4 + [2] + [1] * 360
    # A folder of the root does not matter, nor which images are kept.
    one = build(
        tmp_path,
        lines('val'),
        data_prefix='images',
        indices=1,
        test_mode=True,
    )
    assert one.metainfo['classes'] == classes
    assert one.get_data_info(0)['img_path'] == str(
        tmp_path / 'images/val/a-b_364/0.jpg'
    )


def test_given_names_need_no_folders(tmp_path):
    content = ['x/1.jpg 0', 'x/2.jpg 1']
    assert build(tmp_path, content, classes=['a', 'b']).CLASSES == ('a', 'b')
    (tmp_path / 'class_names.txt').write_text('c\nd\n')
    assert build(tmp_path, content).CLASSES == ('c', 'd')


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (
            [*lines(), 'train/park/x.jpg 7'],
            r"Label 7 goes with 'a-b_357' and 'park' in '.*train.txt', but",
        ),
        (
            [*lines(), 'train/a-b_360/x.jpg 8'],
            r"(Folder 'a-b_360'|Label 8) goes with .* and .* in '",
        ),
        (lines()[:-1], r'No image has the label 364 in .*`classes`'),
        (lines()[7:], r'No image has the label 0, 1, 2, 3, 4 and 2 more'),
        ([*lines(), 'train/park/x.jpg 365'], 'Label 365 .* none of 0..364'),
    ],
)
def test_lists_that_do_not_fit(tmp_path, content, match):
    with pytest.raises(ValueError, match=match):
        build(tmp_path, content)


def test_a_folder_has_one_label():
    pairs = [('a/1', 0), ('b/1', 1)]
    assert folder_names(pairs, 2) == ['a', 'b']
    with pytest.raises(ValueError, match="Folder 'a' goes with 0 and 1"):
        folder_names([('a/1', 0), ('a/2', 1)], 2)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_what_is_missing_is_named(tmp_path, split):
    match = rf"'.*/{split}/a-b_364/0.jpg': 365 .*places365standard_easyformat"
    with pytest.raises(ValueError, match=match):
        build(tmp_path, lines(split), check_files='all')
    with pytest.raises(ValueError, match='`data_prefix`.$'):
        build(tmp_path, lines('elsewhere'), check_files='all')
    with pytest.raises(ValueError, match=r'no list .*_val.txt.*OLTR'):
        PlacesLT(str(tmp_path), ann_file='Places_LT_val.txt')
