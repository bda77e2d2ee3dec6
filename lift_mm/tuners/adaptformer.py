"""AdaptFormer: a bottleneck beside each MLP (Chen et al., NeurIPS 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .blocks import Block
from .bottleneck import Bottleneck, BottleneckTuner


class AdaptFormerBranch(Bottleneck):
    """``scale * up(relu(down(norm(x))))`` of the residual stream x.

    The scale is learned and starts at 1. Args as :class:`Bottleneck`.
    """

    def __init__(
        self, dims: int, hidden_dims: int, init: str, eps: float = 1e-5
    ) -> None:
        super().__init__(dims, hidden_dims, init, eps)
        self.scale = Parameter(self.norm.weight.new_ones(1))
        self._x: Tensor | None = None
        self._graph = False  # whether x was read while a graph was kept

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual stream, (B, N, D) -> (B, N, D)."""
        return self.scale * super().forward(x)

    def tap(self, module: nn.Module, args: tuple) -> None:
        """Keep what the MLP's norm reads (pre-hook of that norm)."""
        self._x = args[0]
        self._graph = torch.is_grad_enabled()

    def add(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Add the branch to the block's output (hook of the block).

        Raises:
            ValueError: The block recomputes what is inside it.
        """
        if self._x is None:  # it was computed together with the MLP
            return out
        x, self._x = self._x, None
        if not self.enabled:
            return out
        if self._graph != torch.is_grad_enabled():
            raise ValueError(
                'Activation checkpointing (reentrant) of a block gives '
                'AdaptFormer wrong gradients; drop the key '
                "`activation_checkpointing` and set `recompute='block'` (key "
                '`backbone.recompute`).'
            )
        return out + self(x)


@TUNERS.register_module()
class AdaptFormer(BottleneckTuner):
    """LIFT's default: a parallel bottleneck fed by the residual stream.

    It reads what the norm in front of the MLP reads. SwinV2 has that norm
    behind the MLP, whose output the branch then reads.

    Args: see :class:`~.bottleneck.BottleneckTuner`.
    """

    def attach_branch(self, block: Block) -> None:
        """See :class:`~.bottleneck.BottleneckTuner`."""
        branch = AdaptFormerBranch(
            block.dims, self.hidden_dims, self.init, self.eps_of(block)
        )
        block.add('adaptformer', branch, self)
        norm2 = block.need('norm2', self)
        norm2.register_forward_pre_hook(branch.tap)
        block.module.register_forward_hook(branch.add)
