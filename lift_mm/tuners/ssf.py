"""SSF: scale and shift of features (Lian et al., NeurIPS 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule, check_choice
from .blocks import Block

SITES = {
    'attn': ('qkv', 'proj'),
    'mlp': ('fc1', 'fc2'),
    'norm': ('norm1', 'norm2'),
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


@TUNERS.register_module()
class SSF(Tuner):
    """Learn a scale and a shift behind linear layers and norms.

    Args:
        sites: Some of ``'attn'`` (qkv and output projection), ``'mlp'``
            (both layers), ``'norm'`` (both norms). LIFT+ takes the first
            two.
        layers: See :class:`~.base.Tuner`.

    Raises:
        ValueError: An unknown site, or one that the net does not have.
    """

    order = 3

    def __init__(
        self, sites: Sequence[str] = ('attn', 'mlp'), layers: Layers = None
    ) -> None:
        super().__init__(layers)
        sites = [sites] if isinstance(sites, str) else list(sites)
        for site in sites or ['']:
            check_choice(self, 'sites', site, tuple(SITES))
        self.sites = sites

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
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
