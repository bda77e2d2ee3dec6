"""Adapter: a bottleneck behind each MLP (Houlsby et al., ICML 2019)."""

from torch import Tensor, nn

from lift_mm.registry import TUNERS

from .blocks import Block
from .bottleneck import Bottleneck, BottleneckTuner


class AdapterBranch(Bottleneck):
    """``y + up(relu(down(norm(y))))`` of what the MLP gives, y."""

    stays = 'it is not linear in what the MLP gives'

    def add(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Add the bottleneck to the MLP's output (hook of its last layer)."""
        return out + self(out) if self.enabled else out


@TUNERS.register_module()
class Adapter(BottleneckTuner):
    """A sequential bottleneck after the MLP, before the residual is added.

    Args: see :class:`~.bottleneck.BottleneckTuner`.
    """

    order = 5

    def attach_branch(self, block: Block) -> None:
        """See :class:`~.bottleneck.BottleneckTuner`."""
        branch = AdapterBranch(
            block.dims, self.hidden_dims, self.init, self.eps_of(block)
        )
        block.add('adapter', branch, self)
        block.need('fc2', self).register_forward_hook(branch.add)
