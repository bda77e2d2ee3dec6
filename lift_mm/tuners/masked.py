"""Masked tuning: a random share of the weights learns (LIFT, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule
from .blocks import Block
from .settings import check_choice

SCOPES = {
    'attn': ('qkv', 'proj'),
    'mlp': ('fc1', 'fc2'),
    'all': ('qkv', 'proj', 'fc1', 'fc2'),
}


class SparseLinear(TunerModule):
    """Learned entries of a frozen linear layer, as positions and values.

    It takes the place of the layer's ``forward``: what learns is scattered
    into the frozen weight. Only positions (int32) and values are stored,
    not a mask of the weight's size.

    Args:
        layer: The frozen layer.
        weight_index: Flat row-major positions in the weight, ascending.
        bias_index: Positions in the bias.
    """

    def __init__(
        self, layer: nn.Linear, weight_index: Tensor, bias_index: Tensor
    ) -> None:
        super().__init__()
        self._layer = [layer]  # in a list: the layer is no child of this
        for name, index in dict(weight=weight_index, bias=bias_index).items():
            self.register_buffer(f'{name}_index', index.int())
        for name, value in self.start_values(layer.weight, layer.bias).items():
            setattr(self, name, Parameter(value))

    @property
    def layer(self) -> nn.Linear:
        """The frozen layer."""
        return self._layer[0]

    def start_values(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """Give what is learned as it is in these tensors of a layer."""
        return {
            'weight': weight.detach().flatten()[self.weight_index.long()],
            'bias': bias.detach().flatten()[self.bias_index.long()],
        }

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer, (..., in) -> (..., out)."""
        layer = self.layer
        if not self.enabled:
            return F.linear(x, layer.weight, layer.bias)
        return F.linear(x, self.filled('weight'), self.filled('bias'))

    def filled(self, name: str) -> Tensor:
        """Give the frozen tensor with the learned entries in it."""
        base = getattr(self.layer, name)
        index = getattr(self, f'{name}_index').long()
        values = getattr(self, name).to(base.dtype)
        return base.flatten().index_put((index,), values).view_as(base)

    @torch.no_grad()
    def merge_into(self, layer: nn.Linear) -> None:
        """Write the learned entries into the layer."""
        for name in ('weight', 'bias'):
            getattr(layer, name).copy_(self.filled(name))


@TUNERS.register_module()
class MaskedTuning(Tuner):
    """Learn a random share of the entries of linear layers.

    Args:
        ratio: Share of the entries; None takes the paper's rule, about as
            many as the classifier has.
        scope: ``'attn'``, ``'mlp'`` or ``'all'`` linear layers.
        layers: See :class:`~.base.Tuner`.
        seed: Seed of the draw.
        draw: ``'lift'``: weight and bias of a layer are drawn together, one
            random stream runs through all layers. ``'lift+'``: each apart,
            every tensor from the seed anew, as that program does.

    Raises:
        ValueError: A setting is impossible, or the ratio is automatic and
            the number of classes unknown.
    """

    order = 1

    def __init__(
        self,
        ratio: float | None = None,
        scope: str = 'all',
        layers: Layers = None,
        seed: int = 0,
        draw: str = 'lift',
    ) -> None:
        super().__init__(layers)
        check_choice(self, 'scope', scope, tuple(SCOPES))
        check_choice(self, 'draw', draw, ('lift', 'lift+'))
        number = isinstance(ratio, (int, float))
        if ratio is not None and not (number and 0 < ratio <= 1):
            raise ValueError(
                f'ratio={ratio!r} of MaskedTuning must be None or a number '
                'above 0 and not above 1 (key `backbone.tuners`).'
            )
        self.ratio = ratio
        self.scope = scope
        self.seed = seed
        self.draw = draw

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        self.chosen = self.select(blocks)
        if self.ratio is None:
            self.ratio = self._automatic(blocks, num_classes)
        stream = torch.Generator().manual_seed(self.seed)
        learned = 0
        for index in self.chosen:
            block = blocks[index]
            sparse = TunerModule()
            for site in SCOPES[self.scope]:
                layer = block.need(site, self)
                if layer.bias is None:
                    raise ValueError(
                        f'MaskedTuning needs biases, and {site!r} of block '
                        f'{index} has none (key `backbone.tuners`).'
                    )
                part = SparseLinear(layer, *self._positions(layer, stream))
                sparse.add_module(site, part)
                layer.forward = part.forward
                learned += part.weight.numel() + part.bias.numel()
            block.add('masked', sparse, self)
        if not learned:
            raise ValueError(
                f'ratio={self.ratio!r} of MaskedTuning is less than one entry '
                'of each layer (key `backbone.tuners`).'
            )

    def _automatic(self, blocks: list[Block], num_classes) -> float:
        if not num_classes:
            raise ValueError(
                'MaskedTuning chooses its ratio from the number of classes, '
                'which is unknown: set `backbone.num_classes`, or `ratio` in '
                '`backbone.tuners`.'
            )
        dims = blocks[0].dims
        if self.draw == 'lift':
            share = num_classes / (12 * len(blocks) * dims)
            return min(1.0, max(0.001, share // 0.001 * 0.001))
        size = {'attn': 4 * dims + 4, 'mlp': 8 * dims + 5}
        size['all'] = size['attn'] + size['mlp']
        return min(1.0, num_classes / (len(self.chosen) * size[self.scope]))

    def _positions(self, layer: nn.Linear, stream) -> tuple[Tensor, Tensor]:
        """Draw flat positions in weight and bias, ascending."""
        rows, columns = layer.weight.shape
        if self.draw == 'lift':
            # One matrix, whose last column is the bias.
            size = rows * (columns + 1)
            order = torch.randperm(size, generator=stream)
            chosen = order[: int(self.ratio * size)]
            row, column = chosen // (columns + 1), chosen % (columns + 1)
            inside = column < columns
            weight = row[inside] * columns + column[inside]
            return weight.sort().values, row[~inside].sort().values
        found = []
        for size in (rows * columns, rows):
            stream.manual_seed(self.seed)
            order = torch.randperm(size, generator=stream)
            found.append(order[: int(self.ratio * size)].sort().values)
        return tuple(found)

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        return dict(
            type='MaskedTuning',
            ratio=self.ratio,
            scope=self.scope,
            seed=self.seed,
            draw=self.draw,
            layers=self.chosen,
        )
