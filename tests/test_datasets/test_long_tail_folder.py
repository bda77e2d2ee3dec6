"""Folders of images, with and without splits."""

import shutil

import pytest

from lift_mm.datasets import LongTailFolder

from .conftest import write_image


def paths(dataset):
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def build(root, *args, **kwargs):
    return LongTailFolder(str(root), *args, **kwargs)


@pytest.fixture
def splits(folders):
    """Move the images into ``train`` and copy one class to ``test``."""
    root = folders.parent / 'split'
    shutil.move(folders, root / 'train')
    shutil.copytree(root / 'train/great tit', root / 'test/great tit')
    return root


def test_folder_without_splits(folders):
    write_image(folders / '.hidden/a.png')
    write_image(folders / 'ant/.a.png')
    write_image(folders / 'ant/more/.cache/a.png')
    write_image(folders / 'ant/more/B.PNG')
    (folders / 'ant/notes.txt').write_text('x')
    write_image(folders / 'loose.png')
    dataset = build(folders)
    assert dataset.metainfo['classes'] == ('ant', 'great tit', 'sea gull')
    assert dataset.metainfo['class_counts'] == [6, 1, 10]
    assert paths(dataset)[5] == str(folders / 'ant/more/B.PNG')
    assert paths(build(folders, '')) == paths(dataset)


@pytest.mark.parametrize('ending', ['.webp', '.tiff', '.TIF', '.JPEG'])
def test_common_formats_are_seen(folders, ending):
    write_image(folders / f'ant/more{ending}')
    assert build(folders).metainfo['class_counts'] == [6, 1, 10]


def test_splits(splits):
    train, test = build(splits), build(splits, 'test', test_mode=True)
    assert train.metainfo['class_counts'] == [5, 1, 10]
    assert test.metainfo['classes'] == train.metainfo['classes']
    assert test.metainfo['class_counts'] == [0, 1, 0]
    assert test.get_gt_labels().tolist() == [1]
    with pytest.raises(ValueError, match=r"'dev'.*\['train', 'test'\]"):
        build(splits, 'dev')
    with pytest.raises(ValueError, match='val_fraction=0.2 is for folders'):
        build(splits, val_fraction=0.2)
    write_image(splits / 'test/zebra/0.png')
    with pytest.raises(ValueError, match="class folder 'zebra'"):
        build(splits, 'test', test_mode=True)


def test_a_class_may_be_called_train(folders):
    write_image(folders / 'train/0.png')
    assert build(folders).metainfo['classes'][-1] == 'train'


def test_an_empty_class(splits):
    (splits / 'train/yak').mkdir()
    with pytest.raises(ValueError, match=r"no training image of 'yak'"):
        build(splits)


def test_names(folders):
    (folders / 'class_names.txt').write_text('Ant\nTit\nGull\n')
    assert build(folders).metainfo['classes'] == ('Ant', 'Tit', 'Gull')
    own = build(folders, classes=['a', 'b', 'c'])
    assert own.metainfo['classes'] == ('a', 'b', 'c')
    with pytest.raises(ValueError, match='2 class names for 3 class folders'):
        build(folders, classes=['a', 'b'])


def test_made_long_tail(folders):
    # 10 images of the largest class; sqrt(10) = 3.16 of the second.
    dataset = build(folders, imbalance_ratio=10)
    assert dataset.metainfo['class_counts'] == [5, 1, 1]
    dataset = build(folders, imbalance_ratio=2)
    assert dataset.metainfo['class_counts'] == [5, 1, 5]
    assert paths(dataset) == paths(build(folders, imbalance_ratio=2))
    assert paths(dataset) != paths(build(folders, imbalance_ratio=2, seed=1))
    with pytest.raises(ValueError, match='ratio is 0.5'):
        build(folders, imbalance_ratio=0.5)
    with pytest.raises(ValueError, match='would thin out a test set'):
        build(folders, imbalance_ratio=2, test_mode=True)


def test_held_out_images(folders):
    train = build(folders, 'train', val_fraction=0.2)
    val = build(folders, 'val', val_fraction=0.2, test_mode=True, seed=3)
    assert train.metainfo['class_counts'] == [4, 1, 8]
    assert val.metainfo['class_counts'] == [1, 0, 2]
    assert sorted(paths(train) + paths(val)) == sorted(paths(build(folders)))
    thin = build(folders, val_fraction=0.2, imbalance_ratio=4)
    assert thin.metainfo['class_counts'] == [4, 1, 2]
    assert set(paths(thin)) < set(paths(train))


def test_refusals(folders, tmp_path):
    with pytest.raises(ValueError, match=r'not split.*`val_fraction=0.2`'):
        build(folders, 'val')
    with pytest.raises(ValueError, match='not split'):
        build(folders, 'test', val_fraction=0.2)
    with pytest.raises(ValueError, match='no folder .*nowhere'):
        build(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='has no folders'):
        build(tmp_path / 'empty')
    (tmp_path / 'empty/a').mkdir()
    with pytest.raises(ValueError, match='has no image'):
        build(tmp_path / 'empty')
