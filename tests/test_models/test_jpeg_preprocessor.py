"""JPEGs decoded by the data preprocessor, here on the CPU."""

import numpy as np
import pytest
import torch
from miniature import REPO
from mmengine import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS, TRANSFORMS
from picture_files import FILES
from torch.utils.data import DataLoader

from lift_mm.datasets import LoadCrop, RandomFlip

LOOK = dict(mean=[120.0, 110, 100], std=[60.0, 61, 62], to_rgb=True)
NAMES = [
    'colours',
    'grey',
    'PNG alpha',
    'CMYK',
    '4:4:4',
    'turned 6',
    'odd size',
]


class Files:
    """A dataset of image files."""

    def __init__(self, folder, mode, interpolation='bilinear', prob=0.5):
        self.paths = []
        for name in NAMES:
            path = folder / name.replace(':', '')
            path.write_bytes(FILES[name])
            self.paths.append(path)
        crop = dict(type='lift_mm.RandomResizedCrop', scale=(64, 72))
        crop['interpolation'] = interpolation
        self.steps = [
            LoadCrop(crop, mode),
            RandomFlip(prob),
            PackInputs(algorithm_keys=['crop']),
        ]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        torch.manual_seed(index)
        results = dict(img_path=str(self.paths[index]), gt_label=index)
        for step in self.steps:
            results = step(results)
        return results


def build(**keys):
    return MODELS.build(dict(type='lift_mm.JPEGDataPreprocessor', **keys))


def batch(files):
    return pseudo_collate([files[index] for index in range(len(files))])


@pytest.mark.parametrize('prob', [0, 0.5, 1])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_pixels_of_the_workers(interpolation, prob, tmp_path):
    """Those of the mode that decodes in workers, up to rounding."""
    want, got = (
        batch(Files(tmp_path, mode, interpolation, prob))
        for mode in ('tensor', 'device')
    )
    dims = [one.ndim for one in got['inputs']]
    assert dims == [1, 1, 3, 3, 1, 3, 1]
    want = ClsDataPreprocessor(to_rgb=True)(want)['inputs']
    got = build(to_rgb=True)(got)['inputs']
    assert got.shape == want.shape == (len(NAMES), 3, 64, 72)
    apart = (got - want).abs()
    assert apart.mean((1, 2, 3)).max() < 0.5 and apart.max() <= 4


def test_normalisation_and_labels(tmp_path):
    files = Files(tmp_path, 'device')
    plain = build(to_rgb=True)(batch(files))['inputs']
    done = build(**LOOK, num_classes=9, to_onehot=True)(batch(files), True)
    mean, std = (
        torch.tensor(LOOK[key]).view(3, 1, 1) for key in ('mean', 'std')
    )
    assert torch.allclose(done['inputs'], (plain - mean) / std)
    for index, sample in enumerate(done['data_samples']):
        assert sample.gt_label.tolist() == [index]
        assert sample.gt_score.argmax() == index


@pytest.mark.parametrize('workers', [0, 1])
def test_batches_of_a_loader(workers, tmp_path):
    files = Files(tmp_path, 'device')
    loader = DataLoader(
        files, batch_size=4, num_workers=workers, collate_fn=pseudo_collate
    )
    whole = build(**LOOK)(batch(files))['inputs']
    parts = [build(**LOOK)(part)['inputs'] for part in loader]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
def test_decoded_images_are_only_normalised(collate, tmp_path):
    files = Files(tmp_path, 'exact')
    samples = [files[index] for index in range(len(files))]
    want = ClsDataPreprocessor(**LOOK)(collate(samples))
    got = build(**LOOK)(collate(samples))
    assert torch.equal(got['inputs'], want['inputs'])
    assert torch.equal(
        build(**LOOK)(dict(inputs=torch.ones(2, 3, 4, 4)))['inputs'],
        ClsDataPreprocessor(**LOOK)(dict(inputs=torch.ones(2, 3, 4, 4)))[
            'inputs'
        ],
    )


def test_config_of_the_docs(tmp_path):
    text = (REPO / 'docs/datasets.md').read_text()
    block = next(
        part
        for part in text.split('```python\n')
        if 'JPEGDataPreprocessor' in part.split('```')[0]
    ).split('```')[0]
    path = tmp_path / 'device.py'
    path.write_text(block.replace('configs/', f'{REPO}/configs/'))
    cfg = Config.fromfile(path)
    loader = cfg.train_dataloader
    assert loader.collate_fn.type == 'pseudo_collate'
    (tmp_path / 'image').write_bytes(FILES['colours'])
    results = dict(img_path=str(tmp_path / 'image'), gt_label=0)
    for step in loader.dataset.pipeline:
        results = TRANSFORMS.build({'_scope_': 'mmpretrain', **step})(results)
    assert results['inputs'].ndim == 1
    preprocessor = MODELS.build(cfg.data_preprocessor)
    done = preprocessor(pseudo_collate([results]), True)
    assert done['inputs'].shape == (1, 3, 224, 224)
    assert done['inputs'].abs().mean() < 3


def test_refuses_a_file_without_its_crop(tmp_path):
    files = Files(tmp_path, 'device')
    files.steps[-1] = PackInputs()
    with pytest.raises(ValueError, match=r"algorithm_keys=\['crop'\]"):
        build(**LOOK)(batch(files))
    file = torch.from_numpy(np.frombuffer(bytearray(FILES['grey']), np.uint8))
    with pytest.raises(ValueError, match='without its crop'):
        build(**LOOK)(dict(inputs=[file]))


def test_refuses_a_broken_file(tmp_path):
    data = batch(Files(tmp_path, 'device'))
    data['inputs'][0] = data['inputs'][0][:3000]
    with pytest.raises(ValueError, match='image .*cannot be decoded'):
        build(**LOOK)(data)
