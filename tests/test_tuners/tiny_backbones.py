"""Backbones of many kinds with two or three blocks, for the tuner tests."""

import mmpretrain.models  # noqa: F401
import torch
from mmpretrain.registry import MODELS
from torch import nn

from lift_mm.models.initialize import initialize

_VIT = dict(
    arch=dict(
        embed_dims=32,
        num_layers=3,
        num_heads=2,
        feedforward_channels=48,
    ),
    img_size=16,
    patch_size=4,
    drop_rate=0.3,
    drop_path_rate=0.3,
)
_SWIN = dict(
    img_size=16,
    patch_size=2,
    window_size=2,
    out_indices=(1,),
    drop_rate=0.3,
    drop_path_rate=0.3,
)
_SWIN_ARCH = dict(embed_dims=16, depths=[1, 2], num_heads=[2, 2])
_CLIP = dict(image_size=16, layers=3, width=32, head_width=16, patch_size=4)

CONFIGS = dict(
    CLIPViT=dict(
        type='lift_mm.CLIPViT',
        arch=dict(embed_dim=8, vision_cfg=_CLIP, text_cfg={}),
    ),
    VisionTransformer=dict(type='VisionTransformer', **_VIT),
    DistilledVisionTransformer=dict(type='DistilledVisionTransformer', **_VIT),
    BEiTViT=dict(type='BEiTViT', **_VIT),
    ViTEVA02=dict(type='ViTEVA02', **_VIT),
    SwinTransformer=dict(type='SwinTransformer', arch=_SWIN_ARCH, **_SWIN),
    SwinTransformerV2=dict(
        type='SwinTransformerV2',
        arch=dict(extra_norm_every_n_blocks=0, **_SWIN_ARCH),
        pretrained_window_sizes=[0, 0],
        **_SWIN,
    ),
    TIMMBackbone=dict(
        type='TIMMBackbone',
        model_name='vit_tiny_patch16_224',
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=3,
        num_heads=2,
        proj_drop_rate=0.3,
        drop_path_rate=0.3,
    ),
)
VITS = [name for name in CONFIGS if not name.startswith('Swin')]


class _Attention(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dims, 3 * dims)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return (q @ k.transpose(1, 2)).softmax(-1) @ v


class _Block(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims)
        self.attn = _Attention(dims)
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = nn.Sequential(
            nn.Linear(dims, 48), nn.GELU(), nn.Linear(48, dims)
        )
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.mlp(self.norm2(x))


class FreeNet(nn.Module):
    """Somebody's own net in plain torch, with BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, 4)
        self.bn = nn.BatchNorm2d(32)
        self.blocks = nn.ModuleList(_Block(32) for _ in range(3))

    def forward(self, x):
        x = self.bn(self.stem(x)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return (x.mean(dim=1),)


NAMES = [*CONFIGS, 'FreeNet']


def plain(name: str) -> nn.Module:
    """Build a backbone, no tensor at a neutral value, in eval mode."""
    torch.manual_seed(0)
    if name == 'FreeNet':
        net = FreeNet()
    else:
        net = MODELS.build(CONFIGS[name])
        initialize(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    net.eval()
    return net


def tuned(name: str, *tuners: dict, num_classes: int = 30) -> nn.Module:
    """Build the same backbone, frozen, with tuners."""
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=plain(name),
            tuners=list(tuners),
            num_classes=num_classes,
        )
    )
    net.eval()
    return net


def images() -> torch.Tensor:
    """Give two images, the same ones each time."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 16, 16, generator=generator)


def feature(net: nn.Module, x: torch.Tensor = None) -> torch.Tensor:
    """Give the last output of a backbone, of all its tokens."""
    out = net(images() if x is None else x)[-1]
    return torch.cat(out) if isinstance(out, tuple) else out
