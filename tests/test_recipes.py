"""The recipes have the published settings."""

from pathlib import Path

import open_clip
import parity_data
import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS

from lift_mm.clip.arch import model_config

CONFIGS = sorted(
    path.relative_to(REPO).as_posix()
    for path in (REPO / 'configs').rglob('*.py')
    if not {'_base_', 'demo'} & set(path.parts)
    and not path.stem.endswith('_folder')  # a template, of no dataset
)
BENCHMARKS = dict(
    ImageNetLT=1000, PlacesLT=365, INaturalist2018=8142, CIFAR100LT=100
)
# Mean and deviation of each backbone's pixels, in the range 0 to 1.
PIXELS = dict(
    CLIPViT=open_clip.OPENAI_DATASET_MEAN + open_clip.OPENAI_DATASET_STD,
    CLIPResNet=open_clip.OPENAI_DATASET_MEAN + open_clip.OPENAI_DATASET_STD,
    TIMMBackbone=(0.5,) * 6,
    VisionTransformer=(0.485, 0.456, 0.406, 0.229, 0.224, 0.225),
)
# Folder -> rate, epochs (of iNaturalist 2018), as published.
PUBLISHED = dict(
    lift=(0.01, 10, 20),
    lift_plus=(0.02, 5, 15),
    linear_probe=(0.02, 10, 20),
    imagenet21k=(0.01, 10, 20),
)
# Where the rate is another one in each file.
RATES = {
    'full_finetune/vit-b16_imagenet-lt.py': 0.0005,
    'full_finetune/vit-b16_places-lt.py': 0.001,
    'full_finetune/vit-b16_inaturalist2018.py': 0.005,
    'full_finetune/vit-b16-lift-plus_imagenet-lt.py': 0.001,
    'full_finetune/vit-b16-lift-plus_places-lt.py': 0.002,
    'linear_probe/vit-b16-lift-plus_imagenet-lt.py': 0.03,
    'linear_probe/vit-b16-lift-plus_places-lt.py': 0.03,
    'tuners/vit-b16-lora_imagenet-lt.py': 0.01,
    'tuners/vit-b16-lift-plus-lora_imagenet-lt.py': 0.02,
}


def load(path: str) -> Config:
    return Config.fromfile(REPO / path)


def kind(config) -> str:
    return config.type.rpartition('.')[2]


@pytest.mark.parametrize('path', CONFIGS)
def test_data(path):
    """Classes, size and look of the images are those of data and backbone."""
    cfg = load(path)
    dataset, inner = cfg.train_dataloader.dataset, cfg.model.backbone.backbone
    classes = BENCHMARKS[kind(dataset)]
    assert cfg.model.head.num_classes == classes
    assert cfg.data_preprocessor.num_classes == classes
    assert cfg.data_preprocessor.to_rgb == (kind(dataset) != 'CIFAR100LT')
    if 'cifar100-lt-ir' in path:
        ratio = int(Path(path).stem.rpartition('ir')[2])
        assert dataset.imbalance_ratio == ratio
    pixels = [*cfg.data_preprocessor.mean, *cfg.data_preprocessor.std]
    expected = [255 * value for value in PIXELS[kind(inner)]]
    assert pixels == pytest.approx(expected, rel=1e-6)

    size, width = geometry(cfg)
    if kind(cfg.model.head) != 'TextHead':
        assert cfg.model.head.in_channels == width
    interpolation = 'bilinear'
    if 'lift_plus' in path or 'lift-plus' in path or 'bicubic' in path:
        interpolation = 'bicubic'
    for name in ('train', 'test', 'tta'):
        steps = [s.get('crop', s) for s in cfg[f'{name}_pipeline']]
        crops = [s for s in steps if 'Crop' in s.type]
        assert [c.get('crop_size', c.get('scale')) for c in crops] == [size]
        used = {s.interpolation for s in steps if 'interpolation' in s}
        assert used <= {interpolation}
    assert resize(cfg.test_pipeline) == size * 8 // 7
    if resize(cfg.tta_pipeline):
        lift = interpolation == 'bilinear'
        expand = 21 if lift and 'vit-l14' in path else 24
        assert resize(cfg.tta_pipeline) == size + expand
    for split in ('train', 'val', 'test'):
        steps = cfg['train_pipeline' if split == 'train' else 'test_pipeline']
        assert cfg[f'{split}_dataloader'].dataset.pipeline == steps


def geometry(cfg: Config) -> tuple[int, int]:
    """Give the image side that a backbone was made for, and its width."""
    inner = cfg.model.backbone.backbone
    if 'CLIP' not in inner.type:
        return 224, 768
    config = model_config(inner.arch)
    vision = config['vision_cfg']
    behind = kind(inner) == 'CLIPResNet' or cfg.model.get('neck')
    width = config['embed_dim'] if behind else vision['width']
    return vision['image_size'], width


def resize(pipeline) -> int | None:
    scales = [s.scale for s in pipeline if s.type == 'ResizeEdge']
    return scales[0] if scales else None


@pytest.mark.parametrize('path', CONFIGS)
def test_recipe(path):
    """Rate, epochs and batch are the published ones."""
    folder, name = path.split('/')[1:]
    cfg = load(path)
    rate, epochs = cfg.optim_wrapper.optimizer.lr, cfg.train_cfg.max_epochs
    if folder in PUBLISHED and 'lift-plus' not in name:
        lr, usual, inaturalist = PUBLISHED[folder]
        expected = inaturalist if 'inaturalist' in name else usual
        assert (rate, epochs) == (lr, expected)
    assert rate == RATES.get(f'{folder}/{name}', rate)
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = cfg.train_dataloader.batch_size
    assert batch * steps == (32 if name.startswith('coop') else 128)
    if folder != 'text':
        assert cfg.auto_scale_lr.base_batch_size == batch


@pytest.mark.parametrize('epoch', [0, 2, 4])
def test_published_pixels_of_lift_plus(epoch):
    cfg = load('configs/lift_plus/vit-b16_imagenet-lt.py')
    train, test, tta = (
        [TRANSFORMS.build({'_scope_': 'mmpretrain', **s}) for s in steps]
        for steps in (cfg.train_pipeline, cfg.test_pipeline, cfg.tta_pipeline)
    )
    golden = parity_data.load('transforms')
    crop = train[0].crop
    assert crop.scale == (224, 224)
    crop.scale = (64, 64)
    crop.set_epoch(epoch)
    crop.set_max_epochs(5)
    seed = 11 + epoch
    torch.manual_seed(seed)
    case = f'plus/r64/china.png/train_mda_convex_epoch{epoch}of5_seed{seed}'
    assert torch.equal(china(train).flip(0), golden[case])
    pixels = china(test).flip(0)
    assert torch.equal(pixels, golden['plus/r224/china.png/test'])
    crops = torch.stack(china(tta))[[1, 4]].flip(1)
    case = 'plus/r224/china.png/tte_expand24_crops_1_and_4_only'
    assert torch.equal(crops, golden[case])


def china(steps: list):
    path = parity_data.ROOT / 'images/china.png'
    return Compose(steps)(dict(img_path=str(path), gt_label=1))['inputs']


def test_pinned_weights():
    """Weights that are no CLIP are named so that they stay the same."""
    import mmpretrain
    import timm

    cfg = load('configs/imagenet21k/vit-b16_cifar100-lt-ir100.py')
    tag = cfg.model.backbone.backbone.model_name
    assert tag in timm.list_pretrained('vit_base*')
    cfg = load('configs/dinov2/vit-b14_imagenet-lt.py')
    url = cfg.model.backbone.backbone.init_cfg.checkpoint
    folder = Path(mmpretrain.__file__).parent / '.mim/configs/dinov2'
    assert f'Weights: {url}\n' in (folder / 'metafile.yml').read_text()
