"""What Adapter and AdaptFormer share: a bottleneck and its size."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Layers, Tuner, TunerModule
from .blocks import Block
from .settings import check_choice, lift_size


class Bottleneck(TunerModule):
    """``up(relu(down(norm(x))))``.

    Args:
        dims: Width of input and output, D.
        hidden_dims: Width of the bottleneck.
        init: Draw of the down projection, ``'lift'`` (normal) or ``'lift+'``
            (uniform), both of deviation 1 / sqrt(3 D). The up projection
            starts at zero, so a fresh bottleneck changes nothing.
        eps: Of the norm.
    """

    def __init__(
        self, dims: int, hidden_dims: int, init: str, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims, eps=eps)
        self.down = nn.Linear(dims, hidden_dims)
        self.up = nn.Linear(hidden_dims, dims)
        kaiming = {
            'lift': nn.init.kaiming_normal_,
            'lift+': nn.init.kaiming_uniform_,
        }
        kaiming[init](self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens, (B, N, D) -> (B, N, D)."""
        return self.up(F.relu(self.down(self.norm(x))))


class BottleneckTuner(Tuner):
    """A tuner with one bottleneck a block.

    Args:
        hidden_dims: Bottleneck width; None takes LIFT's rule, the largest
            power of two not above C / (2 L), so that all of them together
            have about as many parameters as the classifier (LIFT, section
            4.3).
        layers: See :class:`~.base.Tuner`.
        init: ``'lift'`` or ``'lift+'``, see :class:`Bottleneck`.
        sizing: Whether L counts all blocks (``'lift'``) or the chosen ones
            (``'lift+'``).
        eps: Of the bottleneck's norm, 1e-5 in both programs. None takes that
            of the block's norm, without which an AdaptFormer on a backbone
            with another (1e-6 in mmpretrain's and timm's ViTs) cannot be
            merged.

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
        eps: float | None = 1e-5,
    ) -> None:
        super().__init__(layers)
        if eps is not None and not (isinstance(eps, float) and eps > 0):
            raise ValueError(
                f'eps={eps!r} of {type(self).__name__} must be None or a '
                'positive number (key `backbone.tuners`).'
            )
        check_choice(self, 'init', init, ('lift', 'lift+'))
        check_choice(self, 'sizing', sizing, ('lift', 'lift+'))
        self.hidden_dims = hidden_dims
        self.init = init
        self.sizing = sizing
        self.eps = eps

    def eps_of(self, block: Block) -> float:
        """Give the epsilon of a block's bottleneck."""
        return self.eps or block.need('norm2', self).eps

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        self.chosen = self.select(blocks)
        counted = blocks if self.sizing == 'lift' else self.chosen
        self.hidden_dims = lift_size(
            self, 'hidden_dims', num_classes, 2 * len(counted)
        )
        for index in self.chosen:
            self.attach_branch(blocks[index])

    def attach_branch(self, block: Block) -> None:
        """Add one bottleneck and its hooks to a block."""
        raise NotImplementedError

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        spec = dict(
            type=type(self).__name__,
            hidden_dims=self.hidden_dims,
            layers=self.chosen,
        )
        return spec if self.eps == 1e-5 else dict(spec, eps=self.eps)
