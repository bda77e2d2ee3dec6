"""The base configs of the datasets give the published pixels."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.model import BaseTTAModel
from mmpretrain.registry import MODELS, TRANSFORMS
from parity_data import ROOT, load
from torch import nn

from lift_mm.evaluation import shot_groups
from lift_mm.registry import METRICS

FOLDER = Path(__file__).parents[2] / 'configs/_base_/datasets'
NAMES = ['imagenet-lt_clip_224', 'cifar100-lt_clip_224']


def config(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def run(pipeline, **results):
    for cfg in pipeline:
        results = TRANSFORMS.build({'_scope_': 'mmpretrain', **cfg})(results)
    return results


def china(pipeline):
    return run(pipeline, img_path=str(ROOT / 'images/china.png'), gt_label=1)


def preprocess(cfg, data):
    preprocessor = dict(type='mmpretrain.ClsDataPreprocessor')
    preprocessor = MODELS.build(preprocessor | cfg.data_preprocessor)
    return preprocessor(default_collate([data]))['inputs'][0]


@pytest.mark.parametrize('name', NAMES)
def test_config_is_plain_and_complete(name, tmp_path):
    cfg = config(name)
    (tmp_path / 'dump.py').write_text(cfg.pretty_text)
    assert Config.fromfile(tmp_path / 'dump.py').to_dict() == cfg.to_dict()
    METRICS.build(cfg.test_evaluator)
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        assert loader.batch_size == 128
        assert loader.collate_fn.type == 'default_collate'
        assert loader.dataset.get('test_mode', False) == (part != 'train')
        assert loader.sampler.shuffle == (part == 'train')


def test_published_test_pixels_of_imagenet():
    golden = load('transforms')
    cfg = config('imagenet-lt_clip_224')
    inputs = china(cfg.test_pipeline)['inputs'].flip(0)
    assert torch.equal(inputs, golden['v1/r224/china.png/test'])
    crops = china(cfg.tta_pipeline)['inputs']
    crops = torch.stack(crops).flip(1)
    assert torch.equal(crops, golden['v1/r224/china.png/tte_expand24'])


@pytest.mark.parametrize('name', NAMES)
def test_normalisation(name):
    golden = load('transforms')
    cfg = config(name)
    image = golden['v1/r64/china.png/test']
    if cfg.data_preprocessor.to_rgb:
        image = image.flip(0)  # as the pipeline reads it: BGR
    inputs = preprocess(cfg, dict(inputs=image))
    want = golden['v1/r64/china.png/test_normalized_f32']
    assert torch.allclose(inputs, want, atol=2e-6, rtol=0)


@pytest.mark.parametrize('part', ['train', 'test'])
def test_pipelines_run(part):
    assert china(config(NAMES[0])[f'{part}_pipeline'])['inputs'].shape == (
        3,
        224,
        224,
    )
    image = torch.arange(32 * 32 * 3).reshape(32, 32, 3).byte().numpy()
    packed = run(config(NAMES[1])[f'{part}_pipeline'], img=image, gt_label=1)
    assert packed['inputs'].shape == (3, 224, 224)
    assert packed['data_samples'].gt_label.tolist() == [1]


def test_cifar_groups_are_those_of_imbalance_ratio_100():
    cfg = config('cifar100-lt_clip_224')
    counts = cfg.test_evaluator.group_counts
    assert counts == load('cifar_lt')['counts/ir100'].tolist()
    sizes = {name: len(g) for name, g in shot_groups(counts).items()}
    assert sizes == dict(many=35, medium=35, few=30)


class Probe(nn.Module):
    """Notes what a classifier gets in ``test_step``."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def test_step(self, data):
        self.seen.append(data)
        return data['data_samples']


class MeanProbe(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
@pytest.mark.parametrize('name', NAMES)
def test_tta_pipeline_fits_mmengine(name, collate):
    pipeline = config(name).tta_pipeline
    image = torch.zeros(40, 32, 3).byte().numpy()
    if name.startswith('cifar'):
        samples = [run(pipeline, img=image, gt_label=i) for i in range(3)]
    else:
        samples = [china(pipeline) for _ in range(3)]
    model = MeanProbe(module=Probe())
    merged = model.test_step(collate(samples))
    assert [len(crops) for crops in merged] == [5] * 3
    assert len(model.module.seen) == 5
    for data in model.module.seen:
        assert len(data['data_samples']) == len(data['inputs']) == 3
        assert data['inputs'][0].shape == (3, 224, 224)
