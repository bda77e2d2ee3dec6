"""The activation of an MLP into which an AdaptFormer was fused."""

from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

from lift_mm.registry import MODELS
from lift_mm.tuners.fuse import SplitActivation


@MODELS.register_module()
class SplitAct(SplitActivation):
    """An activation whose last units are ReLUs, as configs name it.

    ``layer_cfgs=dict(act_cfg=dict(type='lift_mm.SplitAct', tail=32))`` of
    mmpretrain's ``VisionTransformer`` takes the weights of a merged model.

    Args:
        tail: Number of ReLUs, AdaptFormer's ``hidden_dims``.
        act_cfg: Config of the other units' activation.

    Raises:
        ValueError: ``tail`` is not a positive int.
    """

    def __init__(self, tail: int, act_cfg: dict | None = None) -> None:
        if not isinstance(tail, int) or isinstance(tail, bool) or tail < 1:
            raise ValueError(
                f'tail={tail!r} of SplitAct must be an int of at least 1 '
                '(key `backbone.layer_cfgs.act_cfg.tail`).'
            )
        act = MMPRETRAIN_MODELS.build(act_cfg or dict(type='GELU'))
        super().__init__(act, tail)
