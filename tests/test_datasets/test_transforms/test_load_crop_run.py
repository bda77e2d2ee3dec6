"""Loading and cropping at once, in a pipeline, a config and a run."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmpretrain.registry import TRANSFORMS
from parity_data import ROOT
from picture_files import FILES, PHOTO, encode

from lift_mm.datasets import LoadCrop, RandomFlip, begin_epoch
from lift_mm.datasets.transforms import load_crop

from .pipeline import box, flip, fused
from .pipeline import run_steps as run

CONFIGS = Path(__file__).parents[3] / 'configs'
MODES = ['exact', 'tensor', 'fast']
PACK = dict(type='PackInputs')


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('prob', [0, 1])
def test_packing_copies_nothing(mode, prob, file):
    path = file(FILES['colours'])
    results = run(path, fused(box(), mode=mode), RandomFlip(prob))
    packed = TRANSFORMS.build({'_scope_': 'mmpretrain', **PACK})(results)
    pixels = results['img']
    assert np.shares_memory(packed['inputs'].numpy(), pixels)
    assert np.array_equal(packed['inputs'].permute(1, 2, 0), pixels)


@pytest.mark.parametrize('mode', [*MODES, 'device'])
def test_sample_says_what_was_done(mode, file):
    path = file(encode(PHOTO.crop((0, 0, 131, 93))))
    results = run(path, fused(box((40, 48)), mode=mode), flip(), PACK)
    sample = results['data_samples']
    assert sample.ori_shape == (93, 131) and sample.img_shape == (40, 48)
    assert sample.img_path == str(path) and sample.flip in (True, False)


def test_device_hands_the_file_on(file):
    for seed in range(6):
        path = file(FILES['colours'])
        torch.manual_seed(seed)
        step = TRANSFORMS.build(box(48, interpolation='bicubic'))
        want = step.rand_crop_params(np.empty((214, 320, 3)))
        mirrored = bool(torch.rand(1) < 0.5)
        torch.manual_seed(seed)
        crop = box(48, interpolation='bicubic')
        results = run(path, fused(crop, mode='device'), flip())
        assert results['img'].tobytes() == FILES['colours']
        assert results['crop'] == dict(box=want, interpolation='bicubic')
        assert results['flip'] == mirrored


@pytest.mark.parametrize('name', ['PNG', 'CMYK', 'turned 6', 'PNG turned 6'])
def test_device_decodes_other_files(name, file):
    path, images = file(FILES[name]), []
    for mode in ('tensor', 'device'):
        torch.manual_seed(0)
        results = run(path, fused(box(), mode=mode), flip())
        images.append(results['img'].astype(int))
        assert 'crop' not in results
    assert np.abs(images[0] - images[1]).mean() < 0.5
    path = file(FILES['turned 6'])
    keys = dict(mode='device', color_type='color_ignore_orientation')
    assert run(path, fused(box(), **keys))['img'].ndim == 1


def test_epochs_reach_the_crop_inside():
    kind = 'MinimalistRandomResizedCrop'
    step = LoadCrop(box(kind=kind))
    with pytest.raises(ValueError, match='nobody has told'):
        run(ROOT / 'images/china.png', step)

    class Dataset:
        pipeline = [step]

    begin_epoch(Dataset(), 1, 3)
    assert (step.crop.clock.epoch, step.crop.clock.max_epochs) == (1, 3)
    copied = copy.deepcopy(step)
    begin_epoch(Dataset(), 2, 3)
    assert copied.crop.clock.epoch == 1


@pytest.mark.parametrize(
    'name',
    ['lift/vit-b16_imagenet-lt', 'lift_plus/vit-l14_inaturalist2018']
    + [
        'lift/vit-b16_folder',
        'ablations/vit-b16-lift-plus-mda-min_imagenet-lt',
    ]
    + ['demo/lift_fashion-mnist-lt'],
)
def test_recipes_switch_by_one_option(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    key = 'train_dataloader.dataset.pipeline.0'
    steps = cfg.train_dataloader.dataset.pipeline
    assert TRANSFORMS.build(steps[0]).mode == 'exact'
    for option, mode in (('fast', 'fast'), ('mode', 'tensor')):
        changed = copy.deepcopy(cfg)
        value = True if option == 'fast' else mode
        changed.merge_from_dict({f'{key}.{option}': value})
        assert changed.train_pipeline == cfg.train_pipeline
        step = changed.train_dataloader.dataset.pipeline[0]
        assert TRANSFORMS.build(step).mode == mode


def test_loading_without_cropping(file):
    """The head's start from images sees them whole."""
    path = file(FILES['turned 6'])
    for color_type, shape in zip(
        load_crop.COLOR_TYPES, [(320, 214, 3), (214, 320, 3)], strict=True
    ):
        step = LoadCrop(box(), 'fast', color_type=color_type)
        image = run(path, step.whole)['img']
        assert image.shape == shape
        want = run(path, LoadCrop(box(), color_type=color_type).whole)['img']
        assert np.array_equal(image, want)


def test_it_can_be_pickled_and_printed(file):
    path = file(FILES['colours'])
    step = LoadCrop(box(interpolation='bicubic'), 'fast', min_detail=1)
    other = pickle.loads(pickle.dumps(step))
    images = []
    for one in (step, other):
        torch.manual_seed(1)
        images.append(run(path, one)['img'])
    assert np.array_equal(*images)
    for part in ("mode='fast'", 'min_detail=1', 'bicubic', "'color'"):
        assert part in repr(other)
    assert other.interpolation == 'bicubic' and other.scale == (48, 48)


@pytest.mark.parametrize('mode', MODES)
def test_a_broken_file(mode, file):
    with pytest.raises(OSError):
        run(file(encode(PHOTO)[:3000]), fused(box(), mode=mode))
    with pytest.raises(OSError):
        run(file(b'no image'), fused(box(), mode=mode))


@pytest.mark.parametrize(
    'keys, error, message',
    [
        (dict(mode='quick'), ValueError, "mode='quick'.*'tensor'"),
        (dict(mode='tensor', fast=True), ValueError, "mode='tensor' with fas"),
        (dict(min_detail=0), ValueError, 'min_detail=0 '),
        (dict(min_detail=1.5), ValueError, 'min_detail=1.5'),
        (dict(min_detail='1'), ValueError, "min_detail='1'"),
        (dict(color_type='grayscale'), ValueError, "color_type='grayscale'"),
        (dict(crop=flip()), TypeError, 'RandomFlip is no random crop'),
        (dict(crop=box(backend='cv2')), ValueError, "backend='cv2'"),
        (
            dict(crop=box(interpolation='lanczos'), mode='fast'),
            ValueError,
            "interpolation='lanczos'.*mode='fast'",
        ),
        (dict(crop=box(0)), ValueError, 'scale=0'),
    ],
)
def test_refusals(keys, error, message):
    with pytest.raises(error, match=message):
        LoadCrop(**{'crop': box(), **keys})
    assert LoadCrop(box(interpolation='lanczos')).interpolation == 'lanczos'
