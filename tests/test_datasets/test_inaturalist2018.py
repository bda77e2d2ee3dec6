"""iNaturalist 2018: category ids become labels."""

import json

import pytest

from lift_mm.datasets import INaturalist2018

from .test_taxonomy import CATEGORIES, without

SPECIES = ('Aix galericulata', 'Aix sponsa', 'Parus major', 'Rosa canina')


@pytest.fixture
def root(tmp_path):
    lines = [
        f'train_val2018/Plantae/{number}/{place}.jpg {number}\n'
        for place, number in enumerate((5, 0, 9, 7, 5, 9, 9))
    ]
    (tmp_path / 'iNaturalist18_train.txt').write_text(''.join(lines))
    write(tmp_path, CATEGORIES)
    return tmp_path


def write(root, categories, name='categories.json'):
    (root / name).write_text(json.dumps(categories))


def build(root, **kwargs):
    return INaturalist2018(str(root), **dict(check_files='none') | kwargs)


def test_labels_are_ranks_of_names(root):
    dataset = build(root)
    assert dataset.metainfo['classes'] == SPECIES
    assert dataset.get_gt_labels().tolist() == [3, 2, 1, 0, 3, 1, 1]
    assert dataset.metainfo['class_counts'] == [1, 3, 1, 2]
    assert dataset.get_data_info(0) == dict(
        img_path=str(root / 'train_val2018/Plantae/5/0.jpg'),
        gt_label=3,
        sample_idx=0,
    )


def test_coarser_ranks_count_anew(root):
    dataset = build(root, rank='genus')
    assert dataset.metainfo['classes'] == ('Aix', 'Parus', 'Rosa')
    assert dataset.metainfo['class_counts'] == [4, 1, 2]
    dataset = build(root, rank='kingdom', serialize_data=False)
    assert dataset.get_gt_labels().tolist() == [1, 0, 0, 0, 1, 0, 0]


def test_other_names(root, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.warning',
        lambda self, text: logged.append(text),
    )
    names = build(root, names='common').metainfo['classes']
    assert names == ('Aix galericulata', 'Aix sponsa', 'Tit', 'Rosa canina')
    assert len(logged) == 1 and '3 of 4 species' in logged[0]
    own = ('a', 'b', 'c', 'd')
    assert build(root, classes=own).metainfo['classes'] == own
    write(root, without('common_name'))
    with pytest.raises(ValueError, match=r"no entry .* key 'common_name'"):
        build(root, names='common')


def test_annotations_as_categories(root):
    write(root, dict(categories=CATEGORIES), 'train2018.json')
    (root / 'categories.json').unlink()
    for path in ('train2018.json', str(root / 'train2018.json')):
        assert build(root, categories=path).metainfo['classes'] == SPECIES
    with pytest.raises(ValueError, match=r"no file '.*categories.json'"):
        build(root)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        (dict(rank='tribe'), "rank='tribe' .*'kingdom', .*'species'"),
        (dict(names='latin'), "names='latin' .*'scientific' or 'common'"),
        (dict(names='common', rank='genus'), 'only species have'),
    ],
)
def test_bad_keys(root, kwargs, match):
    with pytest.raises(ValueError, match=match):
        build(root, **kwargs)


def test_unknown_category(root):
    write(root, CATEGORIES[:3])
    match = r"category 7 of '.*/7/3.jpg' is none of the 3 ids in '.*json'"
    with pytest.raises(ValueError, match=match):
        build(root)


def test_what_is_missing_is_named(root):
    match = r'7 of 7 checked.*train_val2018.tar.gz'
    with pytest.raises(ValueError, match=match):
        build(root, check_files='all')
    with pytest.raises(ValueError, match=r'no list .*val.txt.*Decoupling'):
        build(root, ann_file='iNaturalist18_val.txt')
    (root / 'iNaturalist18_train.txt').write_text('x/a.jpg 5')
    with pytest.raises(ValueError, match='`data_prefix`.$'):
        build(root, check_files='all', test_mode=True)
