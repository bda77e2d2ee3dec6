"""Find the transformer blocks of any net, without code per class."""

from dataclasses import dataclass

from torch import nn


@dataclass
class Block:
    """One transformer block and the sites where tuners attach.

    Attributes:
        module: The block itself.
        norm2: The norm in front of its MLP; reads the residual stream.
        dims: Width of the residual stream.
    """

    module: nn.Module
    norm2: nn.Module
    dims: int


# Nets whose modules look like blocks and do not behave so.
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


def _child(module: nn.Module, *names: str):
    """Give the first registered child with one of these names."""
    for name in names:
        child = module._modules.get(name)
        if child is not None:
            return child
    return None


def find_blocks(net: nn.Module) -> list[Block]:
    """List the transformer blocks of a net in the order of the forward pass.

    A block is a module with an attention (``attn``), an MLP (``ffn`` or
    ``mlp``) and a LayerNorm in front of that (``ln2`` or ``norm2``): ViT,
    BEiT, Swin of mmpretrain, and the ViTs of timm.

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
        norm2 = _child(module, 'ln2', 'norm2')
        mlp = _child(module, 'ffn', 'mlp')
        if mlp is None or _child(module, 'attn') is None:
            continue
        if isinstance(norm2, nn.LayerNorm):
            blocks.append(Block(module, norm2, norm2.normalized_shape[0]))
    if not blocks:
        children = ', '.join(net._modules) or 'none'
        raise ValueError(
            f'{kind} has no transformer blocks to tune (modules with attn, '
            f'ffn or mlp, and ln2 or norm2); its children are: {children} '
            '(key `backbone.backbone.type`; `tuners=[]` trains the head only).'
        )
    return blocks
