"""Merging and publishing a model whose classifier is text."""

import importlib.util

import pytest
import torch
from miniature import REPO
from mmengine.config import Config
from mmpretrain import get_model
from parity_models import relative
from test_models.test_text_head import METHODS, classifier, config, learn
from test_tuners.tiny_models import ADAPTFORMER, NAMES, logits

from lift_mm import apis
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters

NECK = dict(tuned=True, adapter=dict(type='CLIPAdapter'))
PARTS = dict(tuners=ADAPTFORMER, neck=NECK)
method = pytest.mark.parametrize('head', METHODS.values(), ids=METHODS)


def tool(name):
    path = REPO / f'tools/model_converters/{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finished_run(folder, head):
    """Give a trained model, and write what its run left behind."""
    model = learn(classifier(folder, head, **PARTS))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=16),
        dict(type='PackInputs'),
    ]
    Config(
        dict(
            default_scope='mmpretrain',
            model=config(folder, head, **PARTS),
            test_dataloader=dict(
                dataset=dict(type='CustomDataset', pipeline=pipeline)
            ),
        )
    ).dump(str(folder / 'recipe.py'))
    data = dict(classes=NAMES, class_counts=[1, 2, 3])
    torch.save(
        dict(meta=dict(dataset_meta=data), state_dict=apis.tuned_state(model)),
        folder / 'epoch_1.pth',
    )
    return model, str(folder / 'recipe.py'), str(folder / 'epoch_1.pth')


@method
def test_merged_model_has_no_text_tower(tmp_path, head):
    model = learn(classifier(tmp_path, head, **PARTS))
    expected = logits(model)
    merged = apis.merge(model, log=False)
    assert type(merged.head).__name__ == 'CosineHead'
    assert relative(logits(merged), expected) < 1e-5
    assert torch.equal(logits(model), expected)
    assert not any('text' in name for name in merged.state_dict())


@pytest.mark.parametrize('name', ['coop', 'all'])
def test_merge_tool(tmp_path, name):
    model, recipe, checkpoint = finished_run(tmp_path, METHODS[name])
    out = str(tmp_path / 'plain')
    tool('merge_tuners').main([recipe, checkpoint, out])
    merged = get_model(f'{out}.py', f'{out}.pth', device='cpu')
    assert merged._dataset_meta['classes'] == list(NAMES)
    assert relative(logits(merged), logits(model)) < 1e-5
    text = str(Config.fromfile(f'{out}.py').model)
    assert 'TextHead' not in text and 'CLIPText' not in text


@pytest.mark.parametrize('name', ['coop', 'all'])
def test_publish_tool(tmp_path, name):
    model, recipe, checkpoint = finished_run(tmp_path, METHODS[name])
    tool('publish_tuned').main([recipe, checkpoint, str(tmp_path / 'out')])
    (path,) = (tmp_path / 'out').glob('*.pth')
    stored = load_file(str(path))
    learned = learned_parameters(model)
    assert stored['state_dict'].keys() == learned.keys() | {'fingerprint'}
    kinds = {tuner['type'] for tuner in stored['meta']['tuners']}
    assert {'AdaptFormer', 'CLIPProjection', 'CLIPAdapter', 'CoOp'} <= kinds
    other = get_model(recipe, pretrained=str(path), device='cpu')
    assert torch.equal(logits(other), logits(model))
    other = get_model(recipe, device='cpu')
    apis.load_tuned(other, str(path))
    assert torch.equal(logits(other), logits(model))
