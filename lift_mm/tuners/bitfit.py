"""BitFit: learn the biases (Ben Zaken et al., ACL 2022)."""

from collections.abc import Iterator

from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import FlagTuner
from .blocks import Block


@TUNERS.register_module()
class BitFit(FlagTuner):
    """Learn every bias of the chosen blocks, linear layers and norms alike.

    Args: see :class:`~.base.FlagTuner`. BatchNorms stay in eval mode.
    """

    def parameters(self, block: Block) -> Iterator[Parameter]:
        """See :class:`~.base.FlagTuner`."""
        for name, parameter in block.base_parameters():
            if name.endswith('bias'):
                yield parameter
