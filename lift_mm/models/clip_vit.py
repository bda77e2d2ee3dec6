"""CLIP's image tower as mmpretrain's ``VisionTransformer``."""

import torch
from mmpretrain.models import VisionTransformer

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, open_clip_name, vision_config
from lift_mm.registry import MODELS

from .initialize import initialize


@MODELS.register_module()
def CLIPViT(
    arch: str | dict = 'ViT-B-16',
    pretrained: str | None = None,
    img_size: int | None = None,
    quick_gelu: bool | None = None,
) -> VisionTransformer:
    """Build the image tower of a CLIP with its weights.

    A function: what it returns is a plain mmpretrain ``VisionTransformer``
    that gives the class token after the last norm and before CLIP's
    projection, (B, 3, H, W) -> ((B, D),). Weights are loaded here, since a
    runner that only tests never calls ``init_weights``.

    Args:
        arch: Any plain-ViT model of open_clip by name, its model config as
            a dict, or the path of a JSON file with one.
        pretrained: Weight tag of open_clip (``'openai'``), or a local file:
            open_clip ``.pt``/``.safetensors``, an OpenAI TorchScript
            archive, or an mmpretrain checkpoint of a ``VisionTransformer``.
            None gives random weights.
        img_size: Side of the input in pixels; positions are interpolated
            where the weights have another one.
        quick_gelu: Only where the weights do not tell, see
            :func:`lift_mm.clip.weights.decide_quick_gelu`.

    Raises:
        ValueError: No such model, tag or file; not a plain ViT; weights of
            another architecture; an activation that contradicts them.
    """
    config = model_config(arch)
    vision = vision_config(config)
    arch_name = open_clip_name(arch)
    state = None
    if pretrained:
        state = weights.read(weights.locate(arch_name, pretrained))
    quick = weights.decide_quick_gelu(
        config, arch_name, pretrained, state, quick_gelu
    )
    avg_pool = vision['pool_type'] == 'avg'
    width = vision['width']
    # Weights that a file brings are not drawn first.
    with torch.device('meta' if state else torch.get_default_device()):
        net = VisionTransformer(
            arch=dict(
                embed_dims=width,
                num_layers=vision['layers'],
                num_heads=width // vision['head_width'],
                feedforward_channels=int(width * vision['mlp_ratio']),
            ),
            img_size=img_size or vision['image_size'],
            patch_size=vision['patch_size'],
            norm_cfg=dict(type='LN', eps=1e-5),  # not mmpretrain's 1e-6
            layer_scale_init_value=vision['ls_init_value'] or 0.0,
            layer_cfgs=dict(
                act_cfg=dict(type='mmpretrain.QuickGELU' if quick else 'GELU')
            ),
            pre_norm=not vision['no_ln_pre'],
            patch_cfg=dict(bias=False),
            final_norm=not avg_pool,
            out_type='avg_featmap' if avg_pool else 'cls_token',
        )
    if state is None:
        initialize(net)
    else:
        _load(net, state, arch_name or 'this model config', pretrained)
        net.is_init = True
    return net


def _load(
    net: VisionTransformer, state: weights.State, arch: str, source: str
) -> None:
    if any(key.startswith('visual.') for key in state):
        vit = weights.to_vit(state, net.out_type == 'avg_featmap')
    else:  # a checkpoint of mmpretrain, of the backbone or a classifier
        inside = any(key.startswith('backbone.') for key in state)
        vit = {
            key.removeprefix('backbone.'): value.float()
            for key, value in state.items()
            if key.startswith('backbone.') or not inside
        }
        if 'pos_embed' not in vit:
            raise ValueError(
                f'{source!r} is neither a CLIP (no key visual.*) nor a '
                'VisionTransformer of mmpretrain (no pos_embed); its first '
                f'key is {next(iter(state))} (key `backbone.pretrained`).'
            )
    if 'pos_embed' in vit:
        grid = net.patch_embed.init_out_size
        vit['pos_embed'] = weights.resize_positions(vit['pos_embed'], grid)
    weights.check_fit(net.state_dict(), vit, arch, source)
    net.to_empty(device=torch.get_default_device())
    net.load_state_dict(vit)
