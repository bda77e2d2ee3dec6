"""Full fine-tuning of all blocks, or of the last ones."""

from collections.abc import Iterator

from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import FlagTuner
from .blocks import Block


@TUNERS.register_module()
class FullTuning(FlagTuner):
    """Learn every parameter of the chosen blocks.

    What stands before and behind the blocks stays frozen: patch embedding,
    class token, positions, first and last norm, as in LIFT's "full" (of a
    ResNet it learns all, see ``scope``). BatchNorms stay in eval mode.

    Args: see :class:`~.base.FlagTuner`; ``layers=2`` is LIFT's partial
        fine-tuning of the last two blocks.
    """

    def parameters(self, block: Block) -> Iterator[Parameter]:
        """See :class:`~.base.FlagTuner`."""
        for _, parameter in block.base_parameters():
            yield parameter
