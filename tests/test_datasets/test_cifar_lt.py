"""The long-tailed CIFAR sets on synthetic batches of the real layout."""

import pickle
from urllib.error import URLError

import numpy as np
import pytest

from lift_mm.datasets import CIFAR10LT, CIFAR100LT
from lift_mm.registry import DATASETS

LAYOUT = {
    CIFAR100LT: ('fine_labels', 100),
    CIFAR10LT: ('labels', 10),
}
PER_CLASS = 50


@pytest.fixture(params=list(LAYOUT), ids=lambda cls: cls.__name__)
def cifar(request, tmp_path, monkeypatch):
    """Write batches; the first pixels of an image tell its number."""
    cls = request.param
    key, classes = LAYOUT[cls]
    monkeypatch.setattr('mmpretrain.datasets.cifar.check_md5', lambda *_: True)
    (tmp_path / cls.base_folder).mkdir()
    start = 0
    for name, _ in cls.train_list + cls.test_list:
        size = classes * PER_CLASS // len(cls.train_list)
        numbers = np.arange(start, start + size)
        start = 0 if name == cls.train_list[-1][0] else start + size
        data = np.zeros((size, 3, 32, 32), np.uint8)
        data[:, 0, 0, 0], data[:, 1, 0, 0] = numbers % 256, numbers // 256
        labels = (37 * numbers + 11) % classes
        batch = dict(data=data.reshape(size, -1))
        batch[key] = labels.tolist()
        path = tmp_path / cls.base_folder / name
        path.write_bytes(pickle.dumps(batch))
    return cls, str(tmp_path), classes


def numbers(dataset):
    images = [dataset.get_data_info(i)['img'] for i in range(len(dataset))]
    return [int(i[0, 0, 0]) + 256 * int(i[0, 0, 1]) for i in images]


def test_training_set(cifar):
    cls, root, classes = cifar
    dataset = cls(root, imbalance_ratio=10)
    counts = [
        int(PER_CLASS * 0.1 ** (c / (classes - 1))) for c in range(classes)
    ]
    assert dataset.metainfo['class_counts'] == counts
    assert counts[0] == 50 and counts[-1] == 5
    assert dataset.get_gt_labels().tolist() == [
        c for c, count in enumerate(counts) for _ in range(count)
    ]
    # The same draw, written the published way.
    labels = (37 * np.arange(classes * PER_CLASS) + 11) % classes
    state = np.random.get_state()
    np.random.seed(0)
    want = []
    for c, count in enumerate(counts):
        places = np.where(labels == c)[0]
        np.random.shuffle(places)
        want += places[:count].tolist()
    np.random.set_state(state)
    assert numbers(dataset) == want
    assert numbers(cls(root, imbalance_ratio=10, seed=1)) != want
    assert type(dataset.get_data_info(0)['gt_label']) is int


@pytest.mark.parametrize('ratio', [1, 2.5, 10, 50, 100, 1e6])
def test_any_ratio(cifar, ratio):
    cls, root, classes = cifar
    counts = cls(root, imbalance_ratio=ratio).metainfo['class_counts']
    assert counts == [
        max(int(PER_CLASS * (1 / ratio) ** (c / (classes - 1))), 1)
        for c in range(classes)
    ]
    assert counts[0] == PER_CLASS
    assert counts[-1] == max(int(PER_CLASS * (1 / ratio)), 1)


def test_step(cifar):
    cls, root, classes = cifar
    dataset = cls(root, imbalance_ratio=10, imbalance_shape='step')
    half = classes // 2
    assert dataset.metainfo['class_counts'] == [PER_CLASS] * half + [5] * half


def test_test_set_is_whole(cifar):
    cls, root, classes = cifar
    dataset = DATASETS.build(
        dict(type=cls.__name__, data_root=root, split='test', test_mode=True)
    )
    size = classes * PER_CLASS // len(cls.train_list)
    assert numbers(dataset) == list(range(size))


def test_names_read_as_words():
    dataset = CIFAR100LT('nowhere', lazy_init=True)
    assert dataset.metainfo['classes'][1] == 'aquarium fish'
    assert CIFAR10LT('nowhere', lazy_init=True).metainfo['classes'] == (
        'airplane',
        'automobile',
        'bird',
        'cat',
        'deer',
        'dog',
        'frog',
        'horse',
        'ship',
        'truck',
    )


def test_no_data(tmp_path, monkeypatch):
    match = r'cifar-100-python.*https://.*`data_root`.*`download=False`'
    with pytest.raises(RuntimeError, match=match):
        CIFAR100LT(str(tmp_path), download=False)

    def offline(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(
        'lift_mm.datasets.cifar_lt.download_and_extract_archive', offline
    )
    with pytest.raises(RuntimeError, match='no network') as caught:
        CIFAR100LT(str(tmp_path))
    assert isinstance(caught.value.__cause__, URLError)


def test_refusals(cifar):
    cls, root, _ = cifar
    with pytest.raises(ValueError, match="no split 'val'"):
        cls(root, split='val')
    with pytest.raises(ValueError, match='ratio is 0'):
        cls(root, imbalance_ratio=0)
