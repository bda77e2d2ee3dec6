"""LIFT on a ViT of timm, through mmpretrain's ``TIMMBackbone``."""

import parity_data
import torch
from parity_models import relative

from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert, rename_for


def test_adaptformer():
    data, meta = parity_data.load('timm_vit'), parity_data.meta('timm_vit')
    model = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=dict(
                    type='TIMMBackbone',
                    model_name='vit_base_patch16_224',
                    img_size=meta['resolution'],
                    patch_size=meta['patch'],
                    embed_dim=meta['width'],
                    depth=meta['depth'],
                    num_heads=meta['heads'],
                ),
                tuners=[dict(type='AdaptFormer')],
            ),
            neck=dict(type='lift_mm.ClassToken'),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=40,
                in_channels=64,
                loss=dict(
                    type='lift_mm.LogitAdjustedLoss',
                    class_counts=data['cls_num_list'].tolist(),
                ),
            ),
        )
    ).eval()
    state = {
        key.replace('backbone/', 'backbone.timm_model.'): value.float()
        for key, value in data.items()
        if key.startswith('backbone/')
    }
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    with torch.no_grad():
        plain = model.extract_feat(data['images'])[0]
    assert relative(plain, data['feature_no_tuner']) < 1e-5

    def ours(prefix):
        found, unplaced = convert(
            {k[len(prefix) :]: v for k, v in data.items() if prefix in k}
        )
        assert not unplaced
        return rename_for(model.backbone, found)

    tuned = ours('v1/adaptformer/param/')
    assert not model.load_state_dict(tuned, strict=False).unexpected_keys
    learned = learned_parameters(model)
    assert tuned.keys() | {'head.fc.weight'} == learned.keys()
    with torch.no_grad():
        model.head.fc.weight.copy_(data['head.weight'])
    feats = model.extract_feat(data['images'])
    logits = model.head(feats)
    loss = model.head.loss_module(logits, data['targets'])
    loss.backward()
    assert relative(feats[0], data['v1/adaptformer/feature']) < 1e-5
    assert relative(logits, data['v1/adaptformer/logits_s25']) < 1e-5
    assert relative(loss, data['v1/adaptformer/loss_s25']) < 1e-5
    for name, value in ours('v1/adaptformer/grad/').items():
        assert relative(learned[name].grad, value) < 5e-5, name
