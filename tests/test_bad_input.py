"""A user's mistakes: one sentence that names the key, nothing written.

Each row spoils a working run; all of them go through the stock runner.
"""

import re
import shutil

import miniature
import open_clip
import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmengine.runner import Runner

from lift_mm.compat import without_amp

NAMES = ['cat', 'elk', 'fox', 'owl']


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return miniature.clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / 'photos'
    for split in ('train', 'val'):
        for label, name in enumerate(NAMES):
            for number in range(3):
                miniature.photo(root / split / name / f'{number}.jpg', label)
    return root


@pytest.fixture
def cfg(tmp_path, clip, photos):
    """Give a small run on a folder of photos that works."""
    cfg = Config.fromfile(REPO / 'configs/lift/vit-b16_folder.py')
    inner = cfg.model.backbone.backbone
    inner.update(arch=clip['arch'], pretrained=clip['pretrained'])
    cfg.model.head.update(in_channels=clip['width'], num_classes=4)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=6)
        loader.dataset.data_root = str(photos)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_cfg.max_epochs = 1
    cfg.optim_wrapper = without_amp(cfg.optim_wrapper)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = f'bad_input_{tmp_path.name}'
    return cfg


def train(cfg) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def list_dataset(cfg, photos, text):
    path = photos / 'train.txt'
    path.write_text(text)
    cfg.train_dataloader.dataset = dict(
        type='lift_mm.LongTailList',
        ann_file=str(path),
        data_root=str(photos),
        classes=NAMES,
        pipeline=cfg.train_pipeline,
    )


def wrong_tag(cfg, photos, clip):
    cfg.model.backbone.backbone.update(arch='ViT-B-16', pretrained='opneai')


def no_network(cfg, photos, clip):
    cfg.model.backbone.backbone.update(arch='ViT-B-16', pretrained='openai')


def other_architecture(cfg, photos, clip):
    cfg.model.backbone.backbone.arch = 'ViT-B-32'


def bad_line(cfg, photos, clip):
    list_dataset(cfg, photos, 'train/cat/0.jpg 0\ntrain/elk/0.jpg one\n')


def missing_image(cfg, photos, clip):
    list_dataset(cfg, photos, 'train/cat/0.jpg 0\ntrain/cat/99.jpg 0\n')


def missing_imagenet_image(cfg, photos, clip):
    (photos / 'list.txt').write_text('train/n01440764/x.JPEG 0\n')
    cfg.train_dataloader.dataset = dict(
        type='lift_mm.ImageNetLT',
        data_root=str(photos),
        ann_file='list.txt',
        pipeline=cfg.train_pipeline,
    )


def class_without_images(cfg, photos, clip):
    for path in (photos / 'train' / 'owl').iterdir():
        path.unlink()


def names_and_num_classes(cfg, photos, clip):
    cfg.model.head.num_classes = 5


def names_and_folders(cfg, photos, clip):
    (photos / 'class_names.txt').write_text('cat\nelk\nfox\n')


def corrupt_jpeg(cfg, photos, clip):
    path = photos / 'train' / 'fox' / '1.jpg'
    path.write_bytes(path.read_bytes()[:400])


def long_name(cfg, photos, clip):
    lines = ['cat', 'elk', 'fox', 'a very long name ' * 30]
    (photos / 'class_names.txt').write_text('\n'.join(lines))


def unknown_tuner(cfg, photos, clip):
    cfg.model.backbone.tuners = [dict(type='AdaptFromer')]


def impossible_layer(cfg, photos, clip):
    cfg.model.backbone.tuners = [dict(type='AdaptFormer', layers=[7])]


CASES = [
    (wrong_tag, r"'opneai' is neither a file nor .*backbone.pretrained.*dfn"),
    (no_network, r"'openai' of ViT-B-16 could not be downloaded.*pretrained"),
    (other_architecture, r'not those of ViT-B-32.*backbone.arch'),
    (bad_line, r'train.txt.*line 2.*one'),
    (missing_image, r'99.jpg'),
    (missing_imagenet_image, r'x.JPEG.*ILSVRC2012_img_train.tar'),
    (class_without_images, r"no training image of 'owl'"),
    (names_and_num_classes, r'num_classes=5 .*model.head.num_classes.* 4 '),
    (names_and_folders, r'3 .*4|4 .*3'),
    (corrupt_jpeg, r'fox.1\.jpg.*skip_broken'),
    (long_name, r'a very long name.*tokens.*classes'),
    (unknown_tuner, r"'AdaptFromer' is not a tuner; did you mean AdaptFormer"),
    (impossible_layer, r'layers=\[7\].* 2 blocks, 0 to 1'),
]


@pytest.mark.parametrize(
    'spoil, sentence', CASES, ids=[case[0].__name__ for case in CASES]
)
def test_mistake(cfg, photos, clip, tmp_path, monkeypatch, spoil, sentence):
    def offline(*args, **kwargs):
        raise ConnectionError('no route to host')

    monkeypatch.setattr(open_clip, 'download_pretrained', offline)
    spoil(cfg, photos, clip)
    before = sorted(p for p in photos.rglob('*'))
    with pytest.raises(ValueError) as caught:
        train(cfg)
    text = str(caught.value)
    assert re.search(sentence, text, re.DOTALL), text
    assert '\n' not in text.strip()
    assert not list(tmp_path.rglob('*.pth'))
    assert sorted(p for p in photos.rglob('*')) == before


def test_broken_images_are_skipped_on_request(cfg, photos, clip, tmp_path):
    corrupt_jpeg(cfg, photos, clip)
    cfg.train_dataloader.dataset.skip_broken = True
    runner = train(cfg)
    counts = runner.train_dataloader.dataset.metainfo['class_counts']
    assert counts == [3, 3, 2, 3]
    assert (tmp_path / 'work' / 'epoch_1.pth').exists()


def test_tuned_checkpoint_of_another_base(cfg, photos, clip, tmp_path):
    train(cfg)
    good = tmp_path / 'good.pth'
    shutil.copy(tmp_path / 'work' / 'epoch_1.pth', good)
    shutil.rmtree(tmp_path / 'work')
    weights = torch.load(clip['pretrained'], weights_only=True)
    weights['visual.ln_post.bias'] += 1
    torch.save(weights, tmp_path / 'other.pt')
    path = str(tmp_path / 'other.pt')
    cfg.model.backbone.backbone.pretrained = path
    cfg.load_from = str(good)
    # A visualizer of the same name would look for the folder just removed.
    cfg.experiment_name += '_other'
    with pytest.raises(ValueError, match='made for base .*, this model has'):
        train(cfg)
    assert not list((tmp_path / 'work').rglob('*.pth'))
    cfg.model.backbone.backbone.pretrained = clip['pretrained']
    cfg.experiment_name += '_again'
    train(cfg)
