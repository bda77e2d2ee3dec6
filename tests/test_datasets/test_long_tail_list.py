"""Lists of images, and what every long-tail dataset checks."""

import copy
import os.path as osp

import pytest
import torch
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    default_collate,
)
from mmengine.fileio import LocalBackend, register_backend
from torch.utils.data import DataLoader

from lift_mm.datasets import LongTailList
from lift_mm.registry import DATASETS

from .conftest import write_image


def build(root, **kwargs):
    kwargs = dict(ann_file='train.txt', data_root=str(root)) | kwargs
    return LongTailList(**kwargs)


def rewrite(root, text, name='train.txt'):
    (root / name).write_bytes(text.encode())


@pytest.mark.parametrize('serialize', [True, False])
def test_items_names_and_counts(image_list, serialize):
    dataset = build(image_list, serialize_data=serialize)
    assert len(dataset) == 7
    item = dataset.get_data_info(4)
    assert item['img_path'] == str(image_list / 'photos of 1/no 0.png')
    assert type(item['gt_label']) is int and item['gt_label'] == 1
    assert dataset.get_gt_labels().tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert dataset.metainfo['classes'] == ('ant', 'bee', 'cat')
    assert dataset.metainfo['class_counts'] == [4, 2, 1]
    assert all(type(n) is int for n in dataset.metainfo['class_counts'])
    assert 'Number of categories: \t3' in repr(dataset)


def test_pipeline_of_mmpretrain(image_list):
    dataset = DATASETS.build(
        dict(
            type='LongTailList',
            ann_file='train.txt',
            data_root=str(image_list),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
    )
    sample = dataset[6]
    assert sample['inputs'].shape == (3, 12, 10)
    assert sample['data_samples'].gt_label.tolist() == [2]


def test_augmented_images_do_not_depend_on_workers(image_list):
    dataset = build(
        image_list,
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend='pillow'),
            dict(type='RandomResizedCrop', scale=8, backend='pillow'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    )
    runs = []
    for workers in (0, 2):
        loader = DataLoader(
            dataset,
            batch_size=2,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=default_collate,
        )
        for epoch in range(2):
            dataset.set_epoch(epoch)
            runs.append(torch.cat([batch['inputs'] for batch in loader]))
    assert torch.equal(runs[0], runs[2]) and torch.equal(runs[1], runs[3])
    assert not torch.equal(runs[0], runs[1])


def test_lazy_init(image_list):
    dataset = build(image_list, lazy_init=True)
    assert 'class_counts' not in dataset.metainfo
    dataset.full_init()
    assert dataset.metainfo['class_counts'] == [4, 2, 1]


def test_indices_are_counted(image_list):
    dataset = build(image_list, indices=[0, 4, 6])
    assert dataset.metainfo['class_counts'] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"no training image of 'cat'"):
        build(image_list, indices=6)
    test = build(image_list, indices=6, test_mode=True)
    assert test.metainfo['class_counts'] == [4, 2, 0]


def test_wrappers_hand_on_the_metainfo(image_list):
    dataset = build(image_list)
    for wrapped in (
        ClassBalancedDataset(dataset, oversample_thr=0.5),
        RepeatDataset(dataset, times=2),
        ConcatDataset([dataset, copy.deepcopy(dataset)]),
    ):
        assert wrapped.metainfo == dataset.metainfo


def test_metainfo_loads_with_weights_only(image_list, tmp_path):
    meta = build(image_list).metainfo
    torch.save(dict(meta=dict(dataset_meta=meta)), tmp_path / 'c.pth')
    loaded = torch.load(tmp_path / 'c.pth', weights_only=True)
    assert loaded['meta']['dataset_meta'] == meta


def test_names_as_list_file_or_metainfo(image_list):
    names = ('x', 'y', 'y')  # ImageNet, too, has names twice
    rewrite(image_list, '\ufeffx\r\ny\r\ny\r\n', 'other.txt')
    for kwargs in (
        dict(classes=list(names)),
        dict(classes='other.txt'),
        dict(classes=str(image_list / 'other.txt')),
        dict(metainfo=dict(classes=list(names))),
    ):
        assert build(image_list, **kwargs).metainfo['classes'] == names


def test_other_line_ends_blank_lines_and_prefix(image_list):
    rewrite(
        image_list,
        '\ufeffno 0.png\t0\r\n\r\n  no 1.png   1\r\nno 2.png 2\r\n',
    )
    dataset = build(image_list, data_prefix='photos of 0')
    assert [dataset.get_data_info(i)['img_path'] for i in range(3)] == [
        str(image_list / f'photos of 0/no {i}.png') for i in range(3)
    ]


@pytest.mark.parametrize(
    'line',
    ['a.png', 'a.png b', 'a.png 1.0', 'a.png -1', '3', f'a.png {"9" * 5000}'],
)
def test_bad_lines(image_list, line):
    rewrite(image_list, f'\nphotos of 0/no 0.png 0\n{line}\n')
    with pytest.raises(ValueError, match=rf"line 3, is '{line[:50]}"):
        build(image_list)


@pytest.mark.parametrize('path', ['a.png', '/b/a.png', 'b//c d/a.png', '../a'])
@pytest.mark.parametrize('prefix', ['', 'x', 'x/', '/x'])
def test_paths_are_joined_as_ever(tmp_path, path, prefix):
    rewrite(tmp_path, f'{path} 0')
    dataset = build(
        tmp_path,
        data_prefix=prefix,
        classes=['a'],
        check_files='none',
        allow_outside=True,
    )
    want = osp.join(tmp_path, prefix, path)
    assert dataset.get_data_info(0)['img_path'] == want


class Shelf(LocalBackend):
    """A store with addresses like ``shelf://train.txt``."""

    root = ''

    def _local(self, path):
        return osp.join(self.root, path.removeprefix('shelf://'))

    def get(self, path):
        return super().get(self._local(path))

    def get_text(self, path, encoding='utf-8'):
        return super().get_text(self._local(path), encoding)

    def exists(self, path):
        return super().exists(self._local(path))

    def isfile(self, path):
        return super().isfile(self._local(path))


def test_other_stores(image_list, monkeypatch):
    monkeypatch.setattr(Shelf, 'root', str(image_list))
    register_backend('shelf', Shelf, force=True, prefixes='shelf')
    kwargs = dict(data_root='shelf://', classes=['a', 'b', 'c'])
    dataset = build(image_list, skip_broken=True, **kwargs)
    path = dataset.get_data_info(4)['img_path']
    assert path == 'shelf://photos of 1/no 0.png'
    (image_list / 'photos of 1/no 0.png').unlink()
    with pytest.raises(ValueError, match=rf"no image '{path}'"):
        build(image_list, **kwargs)


def test_repeated_lines(image_list, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.warning',
        lambda self, text: logged.append(text),
    )
    text = (image_list / 'train.txt').read_text()
    text += '\nphotos of 1/no 0.png 1\nphotos of 2/no 0.png  2\r\n'
    rewrite(image_list, text)
    dataset = build(image_list)
    assert dataset.metainfo['class_counts'] == [4, 3, 2]
    assert len(logged) == 1 and '2 images again' in logged[0]
    assert "of 1/no 0.png' of line 5 in line 9;" in logged[0]
    rewrite(image_list, text + 'photos of 0/no 1.png 2')
    match = r"no 1.png' the label 0 in line 2 and 2 in line 11; .*`ann_file`"
    with pytest.raises(ValueError, match=match):
        build(image_list)


def test_bad_lists(image_list):
    with pytest.raises(ValueError, match=r"no list '.*none.txt'.*ann_file"):
        build(image_list, ann_file='none.txt')
    rewrite(image_list, '\n')
    with pytest.raises(ValueError, match='has no image'):
        build(image_list)
    (image_list / 'train.txt').write_bytes(b'\xff\xfe 0')
    with pytest.raises(ValueError, match='is not UTF-8'):
        build(image_list)


def test_bad_names(image_list):
    with pytest.raises(ValueError, match=r'Label 2 of .* is none of 0..1'):
        build(image_list, classes=['a', 'b'])
    with pytest.raises(ValueError, match=r"no training image of 'd'"):
        build(image_list, classes=['a', 'b', 'c', 'd'])
    with pytest.raises(ValueError, match=r"'3', '4', '5', '6', '7' and 2"):
        build(image_list, classes=[str(i) for i in range(10)])
    with pytest.raises(TypeError, match='class name 7 is not text'):
        build(image_list, classes=['a', 7, 'c'])
    (image_list / 'class_names.txt').unlink()
    with pytest.raises(ValueError, match=r'holds no class names.*`classes`'):
        build(image_list)
    rewrite(image_list, 'photos of 0/no 0.png -1')
    with pytest.raises(ValueError, match=r'line 1.*no 0.png -1'):
        build(image_list, classes=['a'])


def test_missing_files(image_list):
    (image_list / 'photos of 1/no 0.png').unlink()
    match = r"no image '.*of 1/no 0.png': 1 of 7 checked.*`data_root`"
    for check in ('sample', 'all'):
        with pytest.raises(ValueError, match=match):
            build(image_list, check_files=check)
    assert len(build(image_list, check_files='none')) == 7
    with pytest.raises(ValueError, match="check_files='some'"):
        build(image_list, check_files='some')


def test_sample_of_files_is_spread(image_list, monkeypatch):
    monkeypatch.setattr('lift_mm.datasets.image_files._SAMPLE', 3)
    (image_list / 'photos of 0/no 1.png').unlink()  # no 1, not looked at
    assert len(build(image_list)) == 7
    (image_list / 'photos of 2/no 0.png').unlink()  # the last one
    with pytest.raises(ValueError, match='1 of 3 checked'):
        build(image_list)


PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='PackInputs'),
]


def spoil(root):
    """Cut one image short, empty another."""
    path = root / 'photos of 0/no 1.png'
    path.write_bytes(path.read_bytes()[:200])
    (root / 'photos of 1/no 0.png').write_bytes(b'')


def test_broken_images_are_named(image_list):
    spoil(image_list)
    dataset = build(image_list, pipeline=PIPELINE)
    dataset[0]
    match = r"image '.*of 0/no 1.png' cannot be read.*`skip_broken=True`"
    with pytest.raises(ValueError, match=match) as caught:
        dataset[1]
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ValueError, match='the file is empty'):
        dataset[4]


def test_mistakes_of_the_pipeline_stay_as_they_are(image_list):
    def fail(results):
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        build(image_list, pipeline=[fail])[0]


def test_broken_images_are_skipped(image_list, monkeypatch):
    spoil(image_list)
    logged = []
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.warning',
        lambda self, text: logged.append(text),
    )
    dataset = build(image_list, pipeline=PIPELINE, skip_broken=True)
    assert dataset.metainfo['class_counts'] == [3, 1, 1]
    assert [len(dataset[i]) for i in range(5)] == [2] * 5
    assert len(logged) == 1
    assert '2 of 7 images' in logged[0] and 'no 1.png' in logged[0]
    (image_list / 'photos of 2/no 0.png').write_bytes(b'GIF89a')
    with pytest.raises(ValueError, match=r"no training image of 'cat'"):
        build(image_list, skip_broken=True)


def test_at_most_ten_broken_names(tmp_path, monkeypatch):
    write_image(tmp_path / 'good.png')
    for number in range(12):
        (tmp_path / f'{number}.png').write_bytes(b'')
    rewrite(
        tmp_path, 'good.png 0\n' + ''.join(f'{i}.png 0\n' for i in range(12))
    )
    logged = []
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.warning',
        lambda self, text: logged.append(text),
    )
    monkeypatch.setattr('lift_mm.datasets.image_files._LONG', 5)
    assert len(build(tmp_path, classes=['a'], skip_broken=True)) == 1
    assert "9.png' (the file is empty) and 2 more." in logged[0]
    assert '10.png' not in logged[0]
    (tmp_path / 'good.png').write_bytes(b'')
    with pytest.raises(ValueError, match='All 13 images'):
        build(tmp_path, classes=['a'], skip_broken=True)


def test_ranks_leave_out_the_same(image_list, monkeypatch):
    spoil(image_list)
    paths = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dist.get_world_size', lambda: 2)
        monkeypatch.setattr('mmengine.dist.get_rank', lambda r=rank: r)

        def gather(found, r=rank):
            # Image 1 falls to rank 1, image 4 to rank 0.
            assert [place for place, _ in found] == [[4], [1]][r]
            return [[(4, 'empty')], [(1, 'cut')]]

        monkeypatch.setattr('mmengine.dist.all_gather_object', gather)
        dataset = build(image_list, skip_broken=True)
        paths.append(
            [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        )
    assert paths[0] == paths[1] and len(paths[0]) == 5
