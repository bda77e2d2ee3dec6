"""What is said of the benchmarks agrees with itself and the datasets."""

import inspect

import pytest
from miniature import REPO
from mmengine.config import Config

from lift_mm.datasets.published import BENCHMARKS
from lift_mm.registry import DATASETS


@pytest.fixture(params=BENCHMARKS)
def benchmark(request):
    return BENCHMARKS[request.param]


def test_counts_add_up(benchmark):
    for facts in benchmark.lists:
        if facts.smallest is not None and facts.smallest == facts.largest:
            assert facts.lines == facts.largest * benchmark.classes
        if facts.groups:
            assert sum(facts.groups) == benchmark.classes
            assert facts.smallest < 20 and facts.largest > 100
        assert (facts.md5 is None) == (facts.sorted_md5 is None)
    assert benchmark.lists[0].split == 'train'


def test_config_reads_these_lists(benchmark):
    cfg = Config.fromfile(REPO / benchmark.config)
    files = {facts.split: facts.file for facts in benchmark.lists}
    for loader in ('train', 'val', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert dataset.ann_file == files.get(loader, files['val'])
        assert dataset.data_root == benchmark.data_root
    assert cfg.model.head.num_classes == benchmark.classes
    if benchmark.taxonomy:
        keys = inspect.signature(DATASETS.get(dataset.type)).parameters
        assert keys['categories'].default == benchmark.taxonomy
