"""Take the class token of backbones that give all tokens."""

from torch import Tensor, nn

from lift_mm.registry import MODELS


@MODELS.register_module()
class ClassToken(nn.Module):
    """Neck between a backbone that gives tokens, (B, N, D), and a head.

    timm's ViTs in mmpretrain's ``TIMMBackbone`` are such backbones.

    Args:
        index: Place of the class token.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index

    def forward(self, feats: tuple[Tensor]) -> tuple[Tensor]:
        """Map ((B, N, D),) to ((B, D),)."""
        return (feats[-1][:, self.index],)
