"""Image towers that open_clip takes from timm, at tiny sizes."""

import pytest
import timm
import torch
from parity_models import relative
from safetensors.torch import save_file

from lift_mm.clip.weights import projection
from lift_mm.models import CLIPTimm
from lift_mm.models.inits import SemanticInit
from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters

SMALL = dict(embed_dim=32, depth=2, num_heads=2, patch_size=4)
TEXT = dict(width=32, heads=2, layers=1)
# Model of timm, its pool, its projection, whether head rows are projected.
TOWERS = {
    'SigLIP': ('vit_base_patch16_siglip_224', 'map', 'none', False),
    'EVA02': ('eva02_base_patch16_clip_224', 'token', None, True),
    'PE': ('vit_pe_core_base_patch16_224', 'map', None, True),
    'GAP': ('vit_medium_patch16_gap_256', 'avg', 'linear', True),
}


def tower(name, folder, size=16):
    """Write open_clip-like weights; give config, file, trunk."""
    import open_clip

    model, pool, proj, projects = TOWERS[name]
    torch.manual_seed(0)
    dims = 0 if proj in ('none', 'linear') else 24
    trunk = timm.create_model(
        model, num_classes=dims, global_pool=pool, img_size=size, **SMALL
    )
    trunk.eval()
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    state = {f'visual.trunk.{k}': v for k, v in trunk.state_dict().items()}
    if proj == 'linear':
        state['visual.head.proj.weight'] = torch.randn(24, 32)
    embed = 24 if projects else 32
    text = open_clip.CustomTextCLIP(
        embed, dict(layers=1, width=64, image_size=8, patch_size=8), TEXT
    )
    for key, value in text.state_dict().items():
        if key.startswith('text.'):
            state[key] = value
    path = str(folder / f'{name}.safetensors')
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    arch = dict(
        embed_dim=embed,
        custom_text=True,
        vision_cfg=dict(
            image_size=size,
            timm_model_name=model,
            timm_pool=pool,
            timm_proj=proj,
        ),
        text_cfg=TEXT,
    )
    return arch, path, trunk


@pytest.mark.parametrize('name', TOWERS)
def test_feature_is_that_of_timm_before_the_projection(tmp_path, name):
    arch, path, trunk = tower(name, tmp_path)
    settings = dict(SMALL, img_size=16)
    net = CLIPTimm(arch, path, timm_kwargs=settings)
    net.eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        (feature,) = net(images)
        inner = trunk.forward_features(images)
        expected = trunk.forward_head(inner, pre_logits=True)
    assert feature.shape == (2, 32) == (2, net.embed_dims)
    assert relative(feature, expected) < 1e-6


@pytest.mark.parametrize('name', TOWERS)
def test_head_starts_from_names_and_tuners_learn(tmp_path, name):
    arch, path, _ = tower(name, tmp_path)
    model = MODELS.build(
        dict(
            type='lift_mm.LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=dict(
                    type='lift_mm.CLIPTimm',
                    arch=arch,
                    pretrained=path,
                    timm_kwargs=dict(SMALL, img_size=16),
                ),
                tuners=[dict(type='AdaptFormer', hidden_dims=2)],
            ),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=3,
                in_channels=32,
                init=dict(type='SemanticInit'),
            ),
        )
    )
    model.head.set_class_info(['cat', 'owl', 'red fox'])
    model.init_weights()
    logits = model(torch.randn(2, 3, 16, 16))
    logits.sum().backward()
    learned = learned_parameters(model)
    assert any('adaptformer' in key for key in learned)
    assert all(p.grad is not None for p in learned.values())

    rows = SemanticInit(
        arch=arch, pretrained=path, project=False, cache=False
    )(['cat', 'owl', 'red fox'], torch.zeros(3, arch['embed_dim']))
    if TOWERS[name][3]:
        from lift_mm.clip.weights import read

        rows = torch.nn.functional.normalize(rows @ projection(read(path)).T)
    assert relative(model.head.fc.weight, rows) < 1e-5


def test_other_image_size(tmp_path):
    arch, path, _ = tower('SigLIP', tmp_path)
    net = CLIPTimm(arch, path, img_size=24, timm_kwargs=SMALL)
    assert net(torch.randn(1, 3, 24, 24))[0].shape == (1, 32)


def test_refusals(tmp_path):
    arch, path, _ = tower('SigLIP', tmp_path)
    with pytest.raises(ValueError, match='no timm_model_name: CLIPViT'):
        CLIPTimm('ViT-B-16')
    with pytest.raises(ValueError, match="timm_pool='abs_attn'"):
        vision = dict(arch['vision_cfg'], timm_pool='abs_attn')
        CLIPTimm(dict(arch, vision_cfg=vision))
    with pytest.raises(ValueError, match='not those of this model config'):
        CLIPTimm(arch, path, timm_kwargs=dict(SMALL, img_size=16, depth=1))
    plain = str(tmp_path / 'plain.safetensors')
    save_file({'visual.proj': torch.zeros(2, 2)}, plain)
    with pytest.raises(ValueError, match='no image tower of timm'):
        CLIPTimm(arch, plain, timm_kwargs=dict(SMALL, img_size=16))
    with pytest.raises(ValueError, match='which CLIPTimm builds'):
        MODELS.build(dict(type='CLIPViT', arch='EVA02-B-16'))
