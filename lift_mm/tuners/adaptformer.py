"""AdaptFormer: a bottleneck beside each MLP (Chen et al., NeurIPS 2022)."""

from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .blocks import Block
from .bottleneck import Bottleneck, BottleneckTuner


class AdaptFormerBranch(Bottleneck):
    """``scale * up(relu(down(norm(x))))`` of the residual stream x.

    The scale is learned and starts at 1. Args as :class:`Bottleneck`.
    """

    def __init__(self, dims: int, hidden_dims: int, init: str) -> None:
        super().__init__(dims, hidden_dims, init)
        self.scale = Parameter(self.norm.weight.new_ones(1))
        self._x: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual stream, (B, N, D) -> (B, N, D)."""
        return self.scale * super().forward(x)

    def tap(self, module: nn.Module, args: tuple) -> None:
        """Keep what the MLP's norm reads (pre-hook of that norm)."""
        self._x = args[0]

    def add(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Add the branch to the block's output (hook of the block)."""
        x, self._x = self._x, None
        return out + self(x) if self.enabled else out


@TUNERS.register_module()
class AdaptFormer(BottleneckTuner):
    """LIFT's default: a parallel bottleneck fed by the residual stream.

    Args: see :class:`~.bottleneck.BottleneckTuner`.
    """

    def attach_branch(self, block: Block) -> None:
        """See :class:`~.bottleneck.BottleneckTuner`."""
        branch = AdaptFormerBranch(block.dims, self.hidden_dims, self.init)
        block.add('adaptformer', branch, self)
        norm2 = block.need('norm2', self)
        norm2.register_forward_pre_hook(branch.tap)
        block.module.register_forward_hook(branch.add)
