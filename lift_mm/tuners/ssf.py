"""SSF: scale and shift of features (Lian et al., NeurIPS 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule
from .blocks import Block, find_pool
from .settings import check_choices

SITES = {
    'attn': ('qkv', 'proj'),
    'mlp': ('fc1', 'fc2'),
    'norm': ('norm1', 'norm2'),
    'pool': ('pool',),
}


class ScaleShift(TunerModule):
    """``y * scale + shift`` of a layer's output.

    Args:
        dims: Width of the output.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        # Not the identity at the start, as in the SSF and LIFT programs.
        self.scale = Parameter(1 + 0.02 * torch.randn(dims))
        self.shift = Parameter(0.02 * torch.randn(dims))

    def forward(self, y: Tensor) -> Tensor:
        """Map features, (..., dims) -> (..., dims)."""
        return y * self.scale + self.shift

    def apply_to(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Replace the layer's output (hook of the layer)."""
        return self(out) if self.enabled else out

    @torch.no_grad()
    def merge_into(self, layer: nn.Linear | nn.LayerNorm) -> None:
        """Scale the layer's weight by rows, scale and shift its bias."""
        weight, bias = layer.weight, layer.bias
        if weight is None:  # a norm without affine
            layer.weight = Parameter(self.scale.clone())
        else:
            weight *= self.scale if weight.ndim == 1 else self.scale[:, None]
        bias = 0 if bias is None else bias * self.scale
        layer.bias = Parameter(bias + self.shift)


@TUNERS.register_module()
class SSF(Tuner):
    """Learn a scale and a shift behind linear layers and norms.

    In a CLIP's ResNet it is one pair, behind the pooled feature (LIFT).

    Args:
        sites: Some of ``'attn'`` (qkv and output projection), ``'mlp'``
            (both layers), ``'norm'`` (both norms) of each block; in a
            ResNet ``'pool'``. None is attn and mlp (LIFT+), or pool.
        layers: See :class:`~.base.Tuner`; not in a ResNet.

    Raises:
        ValueError: An unknown site, or one that the net does not have.
    """

    resnets = True
    order = 3

    def __init__(
        self, sites: Sequence[str] | None = None, layers: Layers = None
    ) -> None:
        super().__init__(layers)
        if sites is not None:
            sites = check_choices(self, 'sites', sites, tuple(SITES))
        self.sites = sites

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        resnet = blocks[0].residual
        if resnet and self.layers is not None:
            raise ValueError(
                f'layers={self.layers!r} of SSF has no meaning in a ResNet, '
                'where SSF stands behind the pooled feature only (key '
                '`backbone.tuners`).'
            )
        if resnet:
            blocks = [find_pool(net)]
        if self.sites is None:
            self.sites = ['pool'] if resnet else ['attn', 'mlp']
        self.chosen = self.select(blocks)
        for index in self.chosen:
            block = blocks[index]
            pairs = TunerModule()
            for name in (n for site in self.sites for n in SITES[site]):
                layer = block.need(name, self)
                width = getattr(layer, 'out_features', None)
                width = width or layer.normalized_shape[0]
                pair = ScaleShift(width)
                pairs.add_module(name, pair)
                layer.register_forward_hook(pair.apply_to)
            block.add('ssf', pairs, self)

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        return dict(type='SSF', sites=self.sites, layers=self.chosen)
