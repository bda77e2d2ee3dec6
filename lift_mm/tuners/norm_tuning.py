"""Norm tuning: learn scale and shift of the norms."""

from collections.abc import Iterator

from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm

from lift_mm.registry import TUNERS

from .base import FlagTuner
from .blocks import Block


@TUNERS.register_module()
class NormTuning(FlagTuner):
    """Learn both LayerNorms of the chosen blocks, or a ResNet's BatchNorms.

    As in LIFT, those BatchNorms go into train mode: they normalise by the
    batch, and their running statistics move and belong to the tuned state.

    Args: see :class:`~.base.FlagTuner`.
    """

    moves_statistics = True

    def parameters(self, block: Block) -> Iterator[Parameter]:
        """See :class:`~.base.FlagTuner`."""
        if block.residual:
            for module in block.module.modules():
                if isinstance(module, _BatchNorm):
                    yield from module.parameters()
            return
        for site in ('norm1', 'norm2'):
            yield from block.need(site, self).parameters()
