"""ImageNet-LT: names and hints."""

import pytest

from lift_mm.datasets import ImageNetLT

from .conftest import write_image


def test_names_and_counts(tmp_path):
    lines = []
    for label, wnid in ((0, 'n01440764'), (134, 'n02012849')):
        name = f'val/{wnid}/ILSVRC2012_val_0000000{label}.JPEG'
        write_image(tmp_path / name, label)
        lines.append(f'{name} {label}')
    (tmp_path / 'ImageNet_LT_test.txt').write_text('\n'.join(lines))
    dataset = ImageNetLT(
        str(tmp_path), ann_file='ImageNet_LT_test.txt', test_mode=True
    )
    classes = dataset.metainfo['classes']
    assert len(classes) == 1000
    assert (classes[0], classes[134]) == ('tench', 'crane bird')
    assert sum(dataset.metainfo['class_counts']) == 2
    own = [f'class {i}' for i in range(1000)]
    dataset = ImageNetLT(
        str(tmp_path),
        ann_file='ImageNet_LT_test.txt',
        test_mode=True,
        classes=own,
    )
    assert dataset.metainfo['classes'] == tuple(own)


def test_missing_list(tmp_path):
    with pytest.raises(ValueError, match=r'ann_file.*ImageNet_LT_train.txt'):
        ImageNetLT(str(tmp_path))
    assert ImageNetLT(lazy_init=True).ann_file == (
        'data/imagenet/ImageNet_LT_train.txt'
    )


@pytest.mark.parametrize('split', ['train', 'val'])
def test_missing_images(tmp_path, split):
    path = tmp_path / 'ImageNet_LT_train.txt'
    path.write_text(f'{split}/n01440764/a.JPEG 0\n')
    match = rf'1 of 1 checked.*ILSVRC2012_img_{split}\.tar'
    with pytest.raises(ValueError, match=match):
        ImageNetLT(str(tmp_path))
    path.write_text('elsewhere/a.JPEG 0\n')
    with pytest.raises(ValueError, match='`data_prefix`.$'):
        ImageNetLT(str(tmp_path))
