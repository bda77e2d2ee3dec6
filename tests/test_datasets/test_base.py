"""Images in one buffer: mmengine's records, with labels at hand."""

import copy
import pickle

import numpy as np
import pytest
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from torch.utils.data import DataLoader

from lift_mm.datasets import LongTailList

LABELS = [0, 0, 0, 0, 1, 1, 2]


def build(root, **kwargs):
    kwargs = dict(ann_file='train.txt', data_root=str(root)) | kwargs
    return LongTailList(**kwargs)


def items(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def read_labels(dataset):
    """Labels as they stand in the items."""
    return [item['gt_label'] for item in items(dataset)]


def test_records_are_those_of_mmengine(image_list):
    dataset = build(image_list)
    plain = build(image_list, serialize_data=False)
    want, ends = BaseDataset._serialize_data(copy.deepcopy(plain))
    assert dataset.data_bytes.tobytes() == want.tobytes()
    assert dataset.data_address.tolist() == ends.tolist()
    assert dataset.data_list == []
    assert items(dataset) == items(plain)


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize(
    'indices', [0, 1, 6, -1, -6, [], [6], [0, 3, 3, 6], (5, 1), range(2, 5)]
)
def test_subsets(image_list, indices, serialize):
    dataset = build(image_list, serialize_data=serialize)
    if isinstance(indices, int):
        want = LABELS[:indices] if indices >= 0 else LABELS[indices:]
    else:
        want = [LABELS[i] for i in indices]
    subset = dataset.get_subset(indices)
    again = dataset.get_subset([0, 4, 5]).get_subset([2, 0])
    assert read_labels(dataset) == dataset.get_gt_labels().tolist() == LABELS
    assert read_labels(again) == again.get_gt_labels().tolist() == [1, 0]
    dataset.get_subset_(indices)
    for one in (subset, dataset):
        assert read_labels(one) == one.get_gt_labels().tolist() == want
        counts = np.bincount(want, minlength=3) if want else [0, 0, 0]
        assert one.metainfo['class_counts'] == list(counts)
    assert dataset.get_gt_labels().dtype == np.int64
    if want:
        cut = build(
            image_list,
            indices=indices,
            serialize_data=serialize,
            test_mode=True,
        )
        assert read_labels(cut) == cut.get_gt_labels().tolist() == want


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize('indices', [0, []])
def test_indices_must_leave_an_image(image_list, indices, serialize):
    with pytest.raises(ValueError, match=r'leaves no image of .*`indices`'):
        build(
            image_list,
            indices=indices,
            serialize_data=serialize,
            test_mode=True,
        )


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize('copied', [copy.deepcopy, 'pickle'])
def test_copies(image_list, copied, serialize):
    dataset = build(image_list, serialize_data=serialize)
    if copied == 'pickle':
        twin = pickle.loads(pickle.dumps(dataset))
    else:
        twin = copied(dataset)
    assert items(twin) == items(dataset)
    twin.get_subset_([6])
    assert twin.get_gt_labels().tolist() == [2]
    assert dataset.get_gt_labels().tolist() == LABELS


def test_labels_are_a_copy(image_list):
    dataset = build(image_list)
    dataset.get_gt_labels()[:] = 9
    assert dataset.get_gt_labels().tolist() == LABELS


def test_lazy_datasets_and_labels(image_list):
    assert build(image_list, lazy_init=True).get_gt_labels().tolist() == LABELS
    assert build(image_list, lazy_init=True).get_cat_ids(4) == [1]
    subset = build(image_list, lazy_init=True).get_subset([6])
    assert subset.get_gt_labels().tolist() == [2]


def test_wrappers(image_list):
    dataset = build(image_list)
    joined = ConcatDataset([dataset, build(image_list)])
    assert joined.get_data_info(13)['gt_label'] == 2
    assert RepeatDataset(dataset, 2).get_data_info(13)['gt_label'] == 2
    balanced = ClassBalancedDataset(dataset, oversample_thr=4 / 7)
    # sqrt(2) and 2, rounded up
    assert balanced.repeat_indices == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6]


def names_of(batch):
    return [item['img_path'] for item in batch]


def test_spawned_workers(image_list):
    dataset = build(image_list)
    loader = DataLoader(
        dataset,
        batch_size=7,
        num_workers=1,
        multiprocessing_context='spawn',
        collate_fn=names_of,
    )
    assert list(loader) == [names_of(items(dataset))]


class Cropped(LongTailList):
    """A user's own dataset: more in an item, and some items left out."""

    def load_data_list(self):
        data_list = super().load_data_list()
        return [
            dict(item, box=np.array([i, 1]))
            for i, item in enumerate(data_list)
        ]

    def filter_data(self):
        return [x for x in super().filter_data() if x['box'][0] != 1]


def test_users_items(image_list):
    dataset = Cropped('train.txt', data_root=str(image_list))
    assert len(dataset) == 6
    assert dataset.get_data_info(1)['box'].tolist() == [2, 1]
    assert dataset.metainfo['class_counts'] == [3, 2, 1]
