"""A bottleneck on projected features (CLIP-Adapter)."""

from torch import Tensor

from lift_mm.registry import MODELS
from lift_mm.tuners.bottleneck import Bottleneck


@MODELS.register_module()
class CLIPAdapter(Bottleneck):
    """``x + up(relu(down(norm(x))))`` of a feature behind its projection.

    The method of Gao et al. (IJCV 2024) in the form of LIFT+: a residual
    bottleneck with a norm, which changes nothing at the start, in place of a
    fixed mixture. It works on image features, as ``adapter`` of
    :class:`CLIPProjection` or as a neck, and on text features, as
    ``adapter`` of :class:`TextHead`.

    Args:
        in_channels: Width of the feature, E; filled in by what it is an
            adapter of, and for a neck by :class:`LongTailClassifier`.
        hidden_dims: Width of the bottleneck.

    Raises:
        ValueError: A size that is not positive.
    """

    stays = 'it works on features behind their projection'

    def __init__(self, in_channels: int, hidden_dims: int = 4) -> None:
        for key, value in dict(
            in_channels=in_channels, hidden_dims=hidden_dims
        ).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'{key}={value!r} of CLIPAdapter must be a positive int '
                    f'(keys `model.neck.adapter.{key}` and '
                    f'`model.head.adapter.{key}`).'
                )
        super().__init__(in_channels, hidden_dims, 'lift+')

    def forward(self, feats: tuple[Tensor]) -> tuple[Tensor]:
        """Adapt the last feature, ((B, E),) -> ((B, E),)."""
        x = feats[-1]
        return (x + super().forward(x),) if self.enabled else (x,)

    def spec(self) -> dict:
        """Settings that a tuned state depends on."""
        return dict(type='CLIPAdapter', hidden_dims=self.down.out_features)
