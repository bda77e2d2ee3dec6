"""Norm tuning: learn scale and shift of the blocks' norms."""

from collections.abc import Iterator

from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import FlagTuner
from .blocks import Block


@TUNERS.register_module()
class NormTuning(FlagTuner):
    """Learn both LayerNorms of the chosen blocks.

    Args:
        layers: See :class:`~.base.Tuner`.
    """

    def parameters(self, block: Block) -> Iterator[Parameter]:
        """See :class:`~.base.FlagTuner`."""
        for site in ('norm1', 'norm2'):
            yield from block.need(site, self).parameters()
