"""The base configs of the datasets give the published pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.model import BaseTTAModel
from mmpretrain.registry import MODELS, TRANSFORMS
from parity_data import ROOT, load
from PIL import Image
from torch import nn
from torchvision import transforms

from lift_mm.evaluation import group_counts, shot_groups
from lift_mm.registry import DATASETS, METRICS

FOLDER = Path(__file__).parents[2] / 'configs/_base_/datasets'
NAMES = [
    'imagenet-lt_clip_224',
    'cifar100-lt_clip_224',
    'places-lt_clip_224',
    'inaturalist2018_clip_224',
]


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


def train_sample(cfg, image, seed, **crop):
    """Run the training pipeline of a config, its crop changed."""
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[0].get('crop', pipeline[0]).update(crop)
    path = ROOT / 'images' / image
    results = dict(img_path=str(path), gt_label=1)
    if not cfg.data_preprocessor.to_rgb:  # CIFAR has arrays, not files
        results['img'] = np.array(Image.open(path))
    torch.manual_seed(seed)
    return run(pipeline, **results)


def train_pixels(cfg, *args, **kwargs):
    inputs = train_sample(cfg, *args, **kwargs)['inputs']
    return inputs.flip(0) if cfg.data_preprocessor.to_rgb else inputs


ALL = [*NAMES, 'folder_clip_224', 'fashion-mnist-lt_clip_32']


@pytest.mark.parametrize('image', ['china', 'chelsea', 'astronaut_tall'])
@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('name', ALL)
def test_published_training_pixels(name, seed, image):
    crop = dict(scale=64, crop_ratio_range=(0.08, 1.0))
    for case, interpolation in (
        (f'v1/r64/{image}.png/train_seed{seed}', None),
        (f'plus/r64/{image}.png/train_no_mda_seed{seed}', 'bicubic'),
    ):
        if interpolation:
            crop['interpolation'] = interpolation
        pixels = train_pixels(config(name), f'{image}.png', seed, **crop)
        assert torch.equal(pixels, load('transforms')[case])


@pytest.mark.parametrize('name', ALL)
def test_training_pixels_at_full_size(name):
    cfg = config(name)
    whole = ROOT / 'images/astronaut_small.png'
    small = name.startswith('fashion')
    size, area = (32, (0.5, 1.0)) if small else (224, (0.08, 1.0))
    lift = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=area),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    for seed in range(5):
        torch.manual_seed(seed)
        want = lift(Image.open(whole))
        assert torch.equal(train_pixels(cfg, whole.name, seed), want)


@pytest.mark.parametrize('name', ALL)
def test_training_samples_tell_what_was_done(name):
    cfg = config(name)
    size = 32 if name.startswith('fashion') else 224
    flips = set()
    for seed in range(8):
        sample = train_sample(cfg, 'chelsea.png', seed)['data_samples']
        assert sample.img_shape[:2] == (size, size)
        if cfg.data_preprocessor.to_rgb:
            assert sample.ori_shape == (200, 300)
        assert sample.flip_direction == ('horizontal' if sample.flip else None)
        flips.add(sample.flip)
    assert flips == {False, True}


@pytest.mark.parametrize('style', ['v1', 'plus'])
@pytest.mark.parametrize('name', NAMES)
def test_normalisation(name, style):
    golden = load('transforms')
    cfg = config(name)
    image = golden[f'{style}/r64/china.png/test']
    if cfg.data_preprocessor.to_rgb:
        image = image.flip(0)  # as the pipeline reads it: BGR
    inputs = preprocess(cfg, dict(inputs=image))
    want = golden[f'{style}/r64/china.png/test_normalized_f32']
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


@pytest.mark.parametrize(
    ('name', 'kind', 'root', 'lists'),
    [
        (
            'places-lt_clip_224',
            'PlacesLT',
            'data/places',
            [f'Places_LT_{part}.txt' for part in ('train', 'val', 'test')],
        ),
        (
            'inaturalist2018_clip_224',
            'INaturalist2018',
            'data/inaturalist2018',
            [f'iNaturalist18_{part}.txt' for part in ('train', 'val', 'val')],
        ),
    ],
)
def test_lists_of_the_benchmarks(name, kind, root, lists):
    cfg, base = config(name), config('imagenet-lt_clip_224')
    for part, ann_file in zip(('train', 'val', 'test'), lists, strict=True):
        want = dict(type=f'lift_mm.{kind}', data_root=root, ann_file=ann_file)
        loader = base[f'{part}_dataloader']
        loader.dataset.update(want)
        assert cfg[f'{part}_dataloader'] == loader
        dataset = dict(loader.dataset, pipeline=[], lazy_init=True)
        assert DATASETS.build(dataset).ann_file == f'{root}/{ann_file}'


def test_published_epochs():
    recipes = FOLDER.parents[1] / 'lift'
    for name, epochs in (('places-lt', 10), ('inaturalist2018', 20)):
        cfg = Config.fromfile(recipes / f'vit-b16_{name}.py')
        assert cfg.train_cfg.max_epochs == epochs
        classes = cfg.data_preprocessor.num_classes
        assert cfg.model.head.num_classes == classes


def test_cifar_groups_are_those_of_imbalance_ratio_100():
    groups = config('cifar100-lt_clip_224').test_evaluator.groups
    # The largest class has 500 images, whatever the imbalance ratio.
    counts = group_counts(groups, [500] * 100)
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
