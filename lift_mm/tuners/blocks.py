"""Find the blocks of any net, without code per class."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter


@dataclass
class Block:
    """One block of a net and the sites where tuners attach.

    Attributes:
        module: The block itself.
        dims: Width of the residual stream.
        sites: Layers by name, where the block has them as such: ``norm1``
            and ``norm2`` (in front of attention and MLP), ``qkv`` (fused)
            and ``proj`` (of the attention), ``fc1`` and ``fc2`` (of the
            MLP).
        residual: Whether it is a block of a ResNet and has none of these.
    """

    module: nn.Module
    dims: int
    sites: dict[str, nn.Module]
    residual: bool = False

    def need(self, site: str, tuner) -> nn.Module:
        """Give a site, or say that the tuner does not fit this net.

        Args:
            site: A key of ``sites``, such as ``'fc1'``.
            tuner: Who asks, for the message.

        Raises:
            ValueError: The block has no such layer.
        """
        layer = self.sites.get(site)
        if layer is None:
            raise ValueError(
                f'{type(tuner).__name__} attaches to {site!r}, which '
                f'{type(self.module).__name__} does not have as a layer of '
                f'its own; it has {", ".join(self.sites)} (key '
                '`backbone.tuners`).'
            )
        return layer

    def add(self, name: str, module: nn.Module, tuner) -> None:
        """Register a tuner's module under the block.

        Args:
            name: What to call it.
            module: The module.
            tuner: Whose it is, for the message.

        Raises:
            ValueError: The block has a child of that name already.
        """
        if hasattr(self.module, name):
            raise ValueError(
                f'A block already has a {name!r}: {type(tuner).__name__} is '
                'listed twice for one block, or the backbone has its own '
                '(key `backbone.tuners`).'
            )
        self.module.add_module(name, module)

    def base_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Give the block's own parameters, without those of tuners."""
        from .base import TunerModule

        tuned = set()
        for module in self.module.modules():
            if isinstance(module, TunerModule):
                tuned.update(id(p) for p in module.parameters())
        for name, parameter in self.module.named_parameters():
            if id(parameter) not in tuned:
                yield name, parameter


# Nets whose blocks look right and are not, and why.
_REFUSED = {
    'DeiT3': (
        'its blocks apply ln1 twice and never ln2, so weights and tuners '
        'would not do what their names say'
    ),
    'MViT': 'its blocks change the width and the number of tokens inside',
    'RevVisionTransformer': (
        'its blocks recompute activations while going backward, which gives '
        'tuners wrong gradients'
    ),
}


def _child(module: nn.Module | None, *names: str):
    """Give the first registered child with one of these names."""
    for name in names:
        child = None if module is None else module._modules.get(name)
        if child is not None:
            return child
    return None


def _linears(mlp: nn.Module) -> tuple:
    """Give first and second layer of a plain two-layer MLP."""
    if type(mlp).__name__ == 'FFN':  # mmcv's: layers[0][0], layers[1]
        layers = [m for m in mlp.modules() if isinstance(m, nn.Linear)]
        return tuple(layers) if len(layers) == 2 else (None, None)
    return _child(mlp, 'fc1'), _child(mlp, 'fc2')


def _sites(module: nn.Module) -> dict[str, nn.Module]:
    attn, mlp = _child(module, 'attn'), _child(module, 'ffn', 'mlp')
    inner = _child(attn, 'w_msa') or attn  # Swin's window attention
    qkv, proj = _child(inner, 'qkv'), _child(inner, 'proj')
    if hasattr(inner, 'q_bias'):
        qkv = None  # BEiT, SwinV2: forward reads qkv.weight, calls no qkv
    fc1, fc2 = _linears(mlp)
    sites = dict(
        norm1=_child(module, 'ln1', 'norm1'),
        norm2=_child(module, 'ln2', 'norm2'),
        qkv=qkv,
        proj=proj,
        fc1=fc1,
        fc2=fc2,
    )
    return {
        name: layer
        for name, layer in sites.items()
        if isinstance(layer, (nn.Linear, nn.LayerNorm))
    }


def find_blocks(net: nn.Module) -> list[Block]:
    """List the blocks of a net in the order of the forward pass.

    A block is a module with an attention (``attn``), an MLP (``ffn`` or
    ``mlp``) and a LayerNorm in front of that (``ln2`` or ``norm2``): ViT,
    BEiT, Swin of mmpretrain, and the ViTs of timm. In a net without such
    modules it is one with convolutions and norms (``conv1, bn1, conv2,
    bn2``) and a shortcut (``downsample``): the ResNets of CLIP, mmpretrain
    and timm.

    Args:
        net: A backbone of mmpretrain, timm or CLIP.

    Raises:
        ValueError: The net has no such block, or is one whose forward pass
            does not do what its modules say (DeiT3, MViT, RevViT).
    """
    kind = type(net).__name__
    if kind in _REFUSED:
        raise ValueError(
            f'{kind} of mmpretrain cannot be tuned: {_REFUSED[kind]}; use '
            'VisionTransformer (key `backbone.backbone.type`).'
        )
    blocks = []
    for module in net.modules():
        if _child(module, 'ffn', 'mlp') is None:
            continue
        if _child(module, 'attn') is None:
            continue
        sites = _sites(module)
        if 'norm2' in sites:
            dims = sites['norm2'].normalized_shape[0]
            blocks.append(Block(module, dims, sites))
    blocks = blocks or _residual_blocks(net)
    if not blocks:
        children = ', '.join(net._modules) or 'none'
        raise ValueError(
            f'{kind} has no transformer blocks to tune (modules with attn, '
            'ffn or mlp, and ln2 or norm2) and no residual ones (conv1, bn1, '
            f'conv2, bn2, downsample); its children are: {children} (key '
            '`backbone.backbone.type`; `tuners=[]` trains the head only).'
        )
    return blocks


def _residual_blocks(net: nn.Module) -> list[Block]:
    needed = {'conv1', 'bn1', 'conv2', 'bn2'}
    blocks = []
    for module in net.modules():  # a stem has no shortcut
        if needed <= module._modules.keys() and hasattr(module, 'downsample'):
            dims = _child(module, 'conv3', 'conv2').out_channels
            blocks.append(Block(module, dims, {}, residual=True))
    return blocks


def find_pool(net: nn.Module) -> Block:
    """Give the attention pool of a CLIP's ResNet, with the site ``pool``.

    The site is the pool's last linear layer, which gives the net's feature.

    Raises:
        ValueError: The net has no such pool.
    """
    pool = _child(net, 'attnpool')
    layer = _child(pool, 'c_proj')
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            'SSF of a ResNet works on the feature that an attention pool '
            f'(attnpool.c_proj) gives, and {type(net).__name__} has none; '
            'use BitFit, NormTuning or FullTuning (key `backbone.tuners`).'
        )
    return Block(pool, layer.out_features, dict(pool=layer), residual=True)
