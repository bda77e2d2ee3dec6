"""A tuned file of something else is refused, whoever loads it."""

import hashlib
import shutil

import open_clip
import pytest
import reliable_runs
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain import get_model
from test_tuners.tiny_models import (
    ARCH,
    NAMES,
    classifier,
    clip_file,
    model_config,
    runner,
)

from lift_mm.apis import load_tuned
from lift_mm.clip.weights import read
from lift_mm.models.classifier import _decode
from lift_mm.safe_load import load_file


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return reliable_runs.data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def tuned(data, tmp_path_factory):
    """Give a checkpoint of a run."""
    work_dir = tmp_path_factory.mktemp('run')
    reliable_runs.train(reliable_runs.config(data, work_dir))
    return str(work_dir / 'epoch_2.pth')


def other_base(folder):
    return dict(pretrained=clip_file(folder, seed=1)), NAMES


def other_tuners(folder):
    return dict(tuners=[dict(type='LoRA', rank=2)]), NAMES


def other_number(folder):
    return dict(num_classes=4), (*NAMES, 'zho')


def other_classes(folder):
    return {}, ('fox', 'owl', 'emu')


def other_order(folder):
    return {}, NAMES[::-1]


WRONG = {
    other_base: r'made for base CLIPViT.*, this model has CLIPViT.*\(key `',
    other_tuners: 'made for tuners .*AdaptFormer.*has .*LoRA',
    other_number: 'made for num_classes 3, this model has 4',
    other_classes: 'other class names',
    other_order: 'other class names, or the same in another order',
}


def by_runner(tuned, folder, data, model, names, resume=False):
    images = folder / 'images'
    shutil.copytree(data / 'images', images)
    if len(names) > len(NAMES):
        shutil.copytree(images / 'fox', images / names[-1])
    (images / 'class_names.txt').write_text('\n'.join(names))
    cfg = reliable_runs.config(data, folder / 'run')
    cfg['train_dataloader']['dataset']['data_root'] = str(images)
    cfg.update(model=model, load_from=tuned, resume=resume)
    run = runner(cfg)
    try:
        run.train()
    finally:
        assert run.iter == 0
        assert not list((folder / 'run').glob('*.pth'))


def by_resuming_runner(*args):
    by_runner(*args, resume=True)


def by_get_model(tuned, folder, data, model, names):
    cfg = Config(dict(model=model))
    return get_model(cfg, pretrained=tuned, device='cpu')


def built(model, names):
    pretrained = model['backbone']['backbone']['pretrained']
    tuners = model['backbone']['tuners']
    number = model['head']['num_classes']
    return classifier(pretrained, names, tuners=tuners, num_classes=number)


def by_load_tuned(tuned, folder, data, model, names):
    return load_tuned(built(model, names), tuned)


def by_load_checkpoint(tuned, folder, data, model, names):
    load_checkpoint(built(model, names), tuned, map_location='cpu')


def by_load_state_dict(tuned, folder, data, model, names):
    state = load_file(tuned)['state_dict']
    built(model, names).load_state_dict(state)


LOADERS = [
    by_runner,
    by_resuming_runner,
    by_get_model,
    by_load_tuned,
    by_load_checkpoint,
    by_load_state_dict,
]


# These take the names of the file instead of a dataset's.
TAKES_NAMES = (by_get_model, by_load_tuned)


@pytest.mark.parametrize(
    'load, wrong',
    [
        (load, wrong)
        for load in LOADERS
        for wrong in WRONG
        if load not in TAKES_NAMES or wrong not in (other_classes, other_order)
    ],
    ids=lambda function: function.__name__,
)
def test_refused(data, tuned, tmp_path, load, wrong):
    changes, names = wrong(tmp_path)
    own = dict(pretrained=str(data / 'clip0.pt'))
    model = model_config(**{**own, **changes})
    with pytest.raises(ValueError, match=WRONG[wrong]) as caught:
        load(tuned, tmp_path, data, model, names)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('load', LOADERS[2:], ids=lambda f: f.__name__)
def test_the_right_state_is_taken(data, tuned, tmp_path, load):
    load(tuned, tmp_path, data, model_config(str(data / 'clip0.pt')), NAMES)


@pytest.mark.parametrize('load', TAKES_NAMES, ids=lambda f: f.__name__)
def test_names_come_with_the_state(data, tuned, tmp_path, load):
    config = model_config(str(data / 'clip0.pt'))
    model = load(tuned, tmp_path, data, config, NAMES[::-1])
    assert tuple(model._dataset_meta['classes']) == NAMES


def class_hash(names):
    model = classifier(num_classes=len(names), names=names)
    return _decode(model.fingerprint)['classes']


def test_names_that_join_to_the_same_text():
    lists = [
        ['a\n', 'b'],
        ['a', '\nb'],
        ['a\\n', 'b'],
        ['a\nb', ''],
        ['a', 'b'],
    ]
    assert len({class_hash(names) for names in lists}) == len(lists)


def test_published_files_keep_their_hash():
    expected = hashlib.sha256(b'fox\nowl\nyak').hexdigest()
    assert class_hash(NAMES) == expected


# Downloads of base weights


@pytest.fixture(params=['.pt', '.safetensors'])
def weights(request, tmp_path):
    torch.manual_seed(0)
    state = open_clip.CLIP(**ARCH).state_dict()
    path = tmp_path / f'open_clip_model{request.param}'
    if request.param == '.pt':
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    return path


@pytest.mark.parametrize('share', [0, 0.01, 0.5, 0.99])
def test_torn_download(weights, share):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    refused(weights)


def test_page_instead_of_weights(weights):
    weights.write_text('<html>404 Not Found</html>')
    refused(weights)


@pytest.mark.parametrize('weights', ['.pt'], indirect=True)
def test_changed_byte_in_a_download(weights):
    """The other format has no checksum."""
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    refused(weights)


def refused(path):
    with pytest.raises(ValueError) as caught:
        read(str(path))
    text = str(caught.value)
    assert str(path) in text and '`backbone.pretrained`' in text
    assert 'delete the file and fetch it again' in text
    assert '\n' not in text


def test_whole_weights(weights):
    assert 'visual.conv1.weight' in read(str(weights))
