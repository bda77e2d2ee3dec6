"""AdaptFormer: a bottleneck beside each MLP (Chen et al., NeurIPS 2022)."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule, add_child, pow2_floor
from .blocks import Block


class AdaptFormerBranch(TunerModule):
    """``scale * up(relu(down(norm(x))))``, added to a block's output.

    Args:
        dims: Width of the residual stream, D.
        hidden_dims: Width of the bottleneck.
        init: Draw of the down projection, ``'lift'`` (normal) or ``'lift+'``
            (uniform), both of deviation 1 / sqrt(3 D). The up projection
            starts at zero, so a fresh branch changes nothing.
    """

    def __init__(self, dims: int, hidden_dims: int, init: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.down = nn.Linear(dims, hidden_dims)
        self.up = nn.Linear(hidden_dims, dims)
        self.scale = Parameter(self.norm.weight.new_ones(1))
        kaiming = {
            'lift': nn.init.kaiming_normal_,
            'lift+': nn.init.kaiming_uniform_,
        }
        kaiming[init](self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self._x: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual stream, (B, N, D) -> (B, N, D)."""
        return self.scale * self.up(F.relu(self.down(self.norm(x))))

    def tap(self, module: nn.Module, args: tuple) -> None:
        """Keep what the MLP's norm reads (pre-hook of that norm)."""
        self._x = args[0]

    def add(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Add the branch to the block's output (hook of the block)."""
        x, self._x = self._x, None
        return out + self(x) if self.enabled else out


@TUNERS.register_module()
class AdaptFormer(Tuner):
    """LIFT's default: a parallel bottleneck fed by the residual stream.

    Args:
        hidden_dims: Bottleneck width; None takes LIFT's rule, the largest
            power of two not above C / (2 L), so that all branches together
            have about as many parameters as the classifier (section 4.3 of
            the paper).
        layers: See :class:`~.base.Tuner`.
        init: ``'lift'`` or ``'lift+'``, see :class:`AdaptFormerBranch`.
        sizing: Whether L counts all blocks (``'lift'``) or the chosen ones
            (``'lift+'``).

    Raises:
        ValueError: A setting is impossible, or the size is automatic and the
            number of classes unknown.
    """

    def __init__(
        self,
        hidden_dims: int | None = None,
        layers: Layers = None,
        init: str = 'lift',
        sizing: str = 'lift',
    ) -> None:
        super().__init__(layers)
        for key, value in dict(init=init, sizing=sizing).items():
            if value not in ('lift', 'lift+'):
                raise ValueError(
                    f"{key}={value!r} of AdaptFormer must be 'lift' or "
                    "'lift+' (key `backbone.tuners`)."
                )
        if hidden_dims is not None and (
            not isinstance(hidden_dims, int) or hidden_dims < 1
        ):
            raise ValueError(
                f'hidden_dims={hidden_dims!r} of AdaptFormer must be None or '
                'an int of at least 1 (key `backbone.tuners`).'
            )
        self.hidden_dims = hidden_dims
        self.init = init
        self.sizing = sizing

    def attach(self, blocks: list[Block], num_classes: int | None) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        chosen = self.select(blocks)
        if self.hidden_dims is None:
            if not num_classes:
                raise ValueError(
                    'AdaptFormer chooses its size from the number of '
                    'classes, which is unknown: set `backbone.num_classes`, '
                    'or `hidden_dims` in `backbone.tuners`.'
                )
            counted = blocks if self.sizing == 'lift' else chosen
            self.hidden_dims = pow2_floor(num_classes / (2 * len(counted)))
        for index in chosen:
            block = blocks[index]
            branch = AdaptFormerBranch(block.dims, self.hidden_dims, self.init)
            add_child(block, 'adaptformer', branch)
            block.norm2.register_forward_pre_hook(branch.tap)
            block.module.register_forward_hook(branch.add)
        self.chosen = chosen

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        return dict(
            type='AdaptFormer',
            hidden_dims=self.hidden_dims,
            layers=self.chosen,
        )
