"""The config of a merged model: mmpretrain's own parts as far as possible."""

import inspect

from mmpretrain.models import VisionTransformer
from mmpretrain.models.classifiers import ImageClassifier
from torch import nn

from lift_mm.tuners import TunerModule, find_blocks
from lift_mm.tuners.fuse import SplitActivation, tuner_name
from lift_mm.tuners.merge import remaining

from .heads import CosineHead

# What a backbone needs no more once it is trained.
_STARTING = (
    'checkpoint_path',
    'drop_path_rate',
    'drop_rate',
    'frozen_stages',
    'init_cfg',
    'pretrained',
)


def can_widen(net: nn.Module) -> bool:
    """Whether the config of a backbone can name MLPs of any width."""
    known = inspect.signature(type(net)).parameters
    return 'layer_cfgs' in known and hasattr(net, 'layers')


def vit_config(net: VisionTransformer) -> dict:
    """Describe a ViT that ``CLIPViT`` has built, without its layers."""
    layer, conv = net.layers[0], net.patch_embed.projection
    scale = getattr(layer.ffn.gamma2, 'weight', None)
    act = layer.ffn.layers[0][1]
    act = act.act if isinstance(act, SplitActivation) else act
    quick = type(act).__name__ == 'QuickGELU'
    return dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=net.embed_dims,
            num_layers=net.num_layers,
            num_heads=layer.attn.num_heads,
            feedforward_channels=net.arch_settings['feedforward_channels'],
        ),
        img_size=tuple(net.img_size),
        patch_size=conv.kernel_size[0],
        norm_cfg=dict(type='LN', eps=layer.ln1.eps),
        layer_scale_init_value=0.0 if scale is None else 1e-5,
        layer_cfgs=dict(
            act_cfg=dict(type='mmpretrain.QuickGELU' if quick else 'GELU')
        ),
        pre_norm=not isinstance(net.pre_norm, nn.Identity),
        patch_cfg=dict(bias=conv.bias is not None),
        final_norm=net.final_norm,
        out_type=net.out_type,
    )


def describe_layers(config: dict, net: nn.Module) -> None:
    """Put into a ViT's config what merging has changed in its layers."""
    given = config.get('layer_cfgs') or {}
    if isinstance(given, dict):
        given = [given] * len(net.layers)
    found = []
    for old, layer in zip(given, net.layers):
        new = dict(old)
        found.append(new)
        ffn = getattr(layer, 'ffn', None)
        if type(ffn).__name__ != 'FFN':  # nothing was fused into it
            continue
        new['feedforward_channels'] = ffn.layers[1].in_features
        act = ffn.layers[0][1]
        if isinstance(act, SplitActivation):
            inner = new.get('act_cfg', dict(type='GELU'))
            if str(inner['type']).endswith('SplitAct'):  # fused before
                inner = inner.get('act_cfg', dict(type='GELU'))
            new['act_cfg'] = dict(
                type='lift_mm.SplitAct', tail=act.tail, act_cfg=inner
            )
        if type(layer.attn).__name__ == 'MultiheadAttention':
            new['qkv_bias'] = layer.attn.qkv.bias is not None
    if all(new == found[0] for new in found):
        found = found[0]
        if (
            isinstance(config.get('arch'), dict)
            and 'feedforward_channels' in found
        ):
            width = found.pop('feedforward_channels')
            config['arch'] = dict(config['arch'], feedforward_channels=width)
        if found.get('qkv_bias') == config.get('qkv_bias', True):
            found.pop('qkv_bias', None)
    config['layer_cfgs'] = found


def backbone_config(tuned: dict, net: nn.Module) -> dict:
    """Give the config of a merged backbone."""
    inner = dict(tuned['backbone'])
    if str(inner['type']).endswith('CLIPViT'):
        config = vit_config(net)
    else:
        config = {k: v for k, v in inner.items() if k not in _STARTING}
    if can_widen(net):
        describe_layers(config, net)
    if not any(True for _ in remaining(net)):
        return config
    return dict(
        type='lift_mm.TunedBackbone',
        backbone=config,
        tuners=left_tuners(tuned, net),
    )


def left_tuners(tuned: dict, net: nn.Module) -> list[dict]:
    """Give the configs of tuners that stay, for the blocks they stay in."""
    places: dict[str, list[int]] = {}
    for index, block in enumerate(find_blocks(net)):
        for child in block.module.children():
            if isinstance(child, TunerModule):
                for _, module in remaining(child):
                    places.setdefault(tuner_name(module), []).append(index)
    configs = [
        config
        for config in tuned['tuners']
        if str(config['type']).removeprefix('lift_mm.') in places
    ]
    found = []
    for config, spec in zip(configs, net.frozen_base.tuners):
        sizes = ('hidden_dims', 'rank', 'length', 'ratio')
        config = {**config, **{k: spec[k] for k in sizes if k in spec}}
        if config.get('deep', True):
            left = set(places[spec['type']])
            config['layers'] = sorted(left & set(spec.get('layers', left)))
            if not config['layers']:  # all of this one was merged
                continue
        found.append(config)
    return found


def model_config(old: dict, model: ImageClassifier, meta: dict) -> dict:
    """Give the config of a merged model.

    Losses and starting values are left out: the model is trained.

    Args:
        old: Config of the tuned model, whose backbone is a
            ``lift_mm.TunedBackbone``.
        model: What :func:`lift_mm.apis.merge` made of it.
        meta: Meta of the checkpoint, with the class counts.
    """
    inner = old['backbone']['backbone']
    head = {k: v for k, v in old['head'].items() if k not in ('loss', 'init')}
    if isinstance(model.head, CosineHead) and 'Text' in str(head['type']):
        kept = ('num_classes', 'topk', 'cal_acc', 'post_hoc_tau')
        head = dict(
            type='lift_mm.CosineHead',
            in_channels=model.head.fc.in_features,
            scale=model.head.scale,
            **{key: head[key] for key in kept if key in head},
        )
    if head.get('post_hoc_tau'):
        counts = (meta.get('dataset_meta') or {}).get('class_counts')
        head['class_counts'] = counts or head.get('class_counts')
    new = dict(
        type='ImageClassifier',
        backbone=backbone_config(old['backbone'], model.backbone),
        head=head,
    )
    neck = old.get('neck')
    if neck is not None:
        new['neck'] = dict(neck)
        if 'CLIPProjection' in str(neck.get('type')):
            new['neck'].pop('pretrained', None)
            new['neck'].pop('tuned', None)
            resnet = 'ResNet' in str(inner['type'])
            arch = inner.get('arch', 'RN50' if resnet else 'ViT-B-16')
            new['neck'].setdefault('arch', arch)
    if old.get('data_preprocessor'):
        new['data_preprocessor'] = old['data_preprocessor']
    return new
