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
    write_image(splits / 'test/zebra/0.png')
    with pytest.raises(ValueError, match="class folder 'zebra'"):
        build(splits, 'test', test_mode=True)


def test_a_class_may_be_called_train(folders):
    write_image(folders / 'train/0.png')
    assert build(folders).metainfo['classes'][-1] == 'train'


def test_split_without_validation_set(splits):
    with pytest.raises(ValueError, match="no folder 'val'.*`val_fraction=0.2"):
        build(splits, 'val', test_mode=True)
    train = build(splits, val_fraction=0.2)
    val = build(splits, 'val', val_fraction=0.2, test_mode=True)
    assert train.metainfo['class_counts'] == [4, 1, 8]
    assert val.metainfo['class_counts'] == [1, 0, 2]
    whole = paths(build(splits))
    assert sorted(paths(train) + paths(val)) == sorted(whole)
    test = build(splits, 'test', val_fraction=0.2, test_mode=True)
    assert test.metainfo['class_counts'] == [0, 1, 0]
    write_image(splits / 'val/ant/0.png')
    with pytest.raises(ValueError, match='val_fraction=0.2 is for folders'):
        build(splits, val_fraction=0.2)


@pytest.mark.parametrize('split', ['', None])
def test_nothing_is_held_out_of_all_images(folders, split):
    with pytest.raises(ValueError, match='holds nothing out.*`split`'):
        build(folders, split, val_fraction=0.2)


def test_an_empty_class(splits):
    (splits / 'train/yak').mkdir()
    (splits / 'train/yak/photo.heic').write_bytes(b'x')
    match = r"no training image of 'yak'.*\.webp.*`extensions`"
    with pytest.raises(ValueError, match=match):
        build(splits)
    match = "test'.* has no training image of 'ant', 'sea_gull'.*`test_mode"
    with pytest.raises(ValueError, match=match):
        build(splits, 'test')


def test_names_of_all_scripts_and_links(folders, tmp_path):
    write_image(tmp_path / 'elsewhere/b/0.png')
    (folders / 'zebra').symlink_to(tmp_path / 'elsewhere')
    (folders / 'gone').symlink_to(tmp_path / 'nowhere')
    write_image(folders / 'Äpfel rot/eins zwei.png')
    write_image(folders / '日本/0.png')
    dataset = build(folders, allow_outside=True)
    names = ('ant', 'great tit', 'sea gull', 'zebra', 'Äpfel rot', '日本')
    assert dataset.metainfo['classes'] == names
    assert dataset.metainfo['class_counts'] == [5, 1, 10, 1, 1, 1]
    assert str(folders / 'zebra/b/0.png') in paths(dataset)
    assert dataset[len(dataset) - 1]['img_path'] == paths(dataset)[-1]


@pytest.mark.parametrize(
    'files, match',
    [
        (['0.png'], 'has no folders; put the images of each class'),
        (['train/0.png', 'val/0.png'], r"\['train', 'val'\], which are no"),
        (['Train/a/0.png', 'Val/a/0.png'], r"\['Train', 'Val'\], which are"),
        (['train/0.png', 'val/a/0.png'], "train' has no folders"),
        (['photos/a/0.png', 'photos/b/0.png'], "`data_root='.*root/photos'`"),
        (['photos/train/a/0.png'], "one folder .*`data_root='.*root/photos'`"),
    ],
    ids=['loose', 'loose splits', 'capitals', 'half', 'high', 'higher'],
)
def test_folders_that_are_no_classes(tmp_path, files, match):
    for file in files:
        write_image(tmp_path / 'root' / file)
    with pytest.raises(ValueError, match=match) as caught:
        build(tmp_path / 'root')
    assert '\n' not in str(caught.value)


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


def test_shapes_of_the_long_tail(folders):
    dataset = build(folders, imbalance_ratio=5, imbalance_shape='step')
    assert dataset.metainfo['class_counts'] == [5, 1, 2]
    dataset = build(folders, imbalance_ratio=5, imbalance_shape='pareto')
    assert dataset.metainfo['class_counts'] == [5, 1, 2]
    with pytest.raises(ValueError, match="shape 'cliff'.*'step'"):
        build(folders, imbalance_ratio=5, imbalance_shape='cliff')
    with pytest.raises(ValueError, match='long tail of no ratio'):
        build(folders, imbalance_shape='step')


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
    with pytest.raises(ValueError, match='0.png.*but a file of that name'):
        build(folders / 'ant/0.png')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='has no folders'):
        build(tmp_path / 'empty')
    (tmp_path / 'empty/a').mkdir()
    with pytest.raises(ValueError, match='has no image'):
        build(tmp_path / 'empty')
