"""LoRA: low-rank updates of linear layers (Hu et al., ICLR 2022)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule
from .blocks import Block
from .settings import check_choice, check_choices, lift_size

# Where a target lies: the layer, and its share of the layer's output.
TARGETS = {
    'q': ('qkv', 0),
    'k': ('qkv', 1),
    'v': ('qkv', 2),
    'out': ('proj', None),
    'fc1': ('fc1', None),
    'fc2': ('fc2', None),
}


class LoRAUpdate(TunerModule):
    """``x @ A @ B / r``, added to a share of a linear layer's output.

    Args:
        in_dims: Width of the input.
        out_dims: Width of the share.
        rank: r.
        share: Which third of a fused qkv; None for the whole output.
    """

    def __init__(
        self, in_dims: int, out_dims: int, rank: int, share: int | None
    ) -> None:
        super().__init__()
        # Stored input-major, so Kaiming sees a fan-in of r: the bound is
        # 1 / sqrt(r), as in LIFT, and not 1 / sqrt(in_dims).
        self.A = Parameter(torch.empty(in_dims, rank))
        self.B = Parameter(torch.zeros(rank, out_dims))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.rank = rank
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Give the update, (..., in_dims) -> (..., out_dims)."""
        return x @ self.A @ self.B / self.rank

    def add(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Add the update to the layer's output (hook of the layer)."""
        if not self.enabled:
            return out
        update = self(args[0])
        if self.share is None:
            return out + update
        parts = list(out.chunk(3, dim=-1))
        parts[self.share] = parts[self.share] + update
        return torch.cat(parts, dim=-1)

    def delta(self) -> Tensor:
        """Give the update as a weight, (out_dims, in_dims)."""
        return (self.A @ self.B).T / self.rank

    @torch.no_grad()
    def merge_into(self, layer: nn.Linear) -> None:
        """Add the update to the layer's weight."""
        weight = layer.weight
        if self.share is not None:
            weight = weight.chunk(3)[self.share]
        weight += self.delta()


@TUNERS.register_module()
class LoRA(Tuner):
    """Low-rank updates, of query and value by default.

    Args:
        rank: r; None takes the largest power of two not above C / (2 L)
            (LIFT) or C / (4 L) (LIFT+).
        targets: Some of ``'q'``, ``'k'``, ``'v'`` (thirds of a fused qkv),
            ``'out'``, ``'fc1'``, ``'fc2'``.
        layers: See :class:`~.base.Tuner`.
        sizing: ``'lift'`` (L counts all blocks) or ``'lift+'`` (the chosen
            ones).

    Raises:
        ValueError: A setting is impossible or does not fit the net.
    """

    order = 2

    def __init__(
        self,
        rank: int | None = None,
        targets: Sequence[str] = ('q', 'v'),
        layers: Layers = None,
        sizing: str = 'lift',
    ) -> None:
        super().__init__(layers)
        check_choice(self, 'sizing', sizing, ('lift', 'lift+'))
        self.rank = rank
        self.targets = check_choices(self, 'targets', targets, tuple(TARGETS))
        self.sizing = sizing

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        self.chosen = self.select(blocks)
        lift = self.sizing == 'lift'
        share = 2 * len(blocks) if lift else 4 * len(self.chosen)
        self.rank = lift_size(self, 'rank', num_classes, share)
        for index in self.chosen:
            block = blocks[index]
            updates = TunerModule()
            for target in self.targets:
                site, third = TARGETS[target]
                layer = block.need(site, self)
                width = layer.out_features // (1 if third is None else 3)
                if self.rank > min(layer.in_features, width):
                    raise ValueError(
                        f'rank={self.rank} of LoRA is above the width '
                        f'{min(layer.in_features, width)} of {target!r} in '
                        f'block {index} (key `backbone.tuners`).'
                    )
                update = LoRAUpdate(layer.in_features, width, self.rank, third)
                updates.add_module(target, update)
                layer.register_forward_hook(update.add)
            block.add('lora', updates, self)

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        return dict(
            type='LoRA',
            rank=self.rank,
            targets=self.targets,
            layers=self.chosen,
        )
