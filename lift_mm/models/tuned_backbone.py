"""Any backbone, frozen, with tuners: the one mechanism of this package."""

from collections.abc import Sequence

from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from lift_mm.compat import float_drop_path
from lift_mm.registry import MODELS
from lift_mm.tuners import attach_tuners, freeze
from lift_mm.tuners.speed import speed_up

from .initialize import initialize


@MODELS.register_module()
def TunedBackbone(
    backbone: dict | nn.Module,
    tuners: Sequence[dict] = (),
    num_classes: int | None = None,
    fast: bool | dict = True,
    recompute: str | None = None,
    frozen_dtype: str | None = None,
) -> nn.Module:
    """Build a backbone, load and freeze it, and attach tuners by hooks.

    A function that returns the backbone itself, not a wrapper: no base key
    changes, so checkpoints of the plain backbone load as they are, and a
    fresh zero-initialised tuner leaves the output bit-identical. All of it
    happens here because a hook of the runner would come too late (DDP and
    the optimizer exist by then) and ``Runner.test`` initialises nothing.

    Args:
        backbone: Config of ``lift_mm.CLIPViT``, ``lift_mm.CLIPResNet`` or
            any mmpretrain backbone whose blocks can be found, or a built one.
        tuners: Tuner configs, see :mod:`lift_mm.tuners`. Empty is linear
            probing.
        num_classes: What LIFT's size rules start from.
            :class:`LongTailClassifier` fills it in from the head.
        fast: Leaner arithmetic with the same results, on unless switched
            off: ``dict(activation=False)`` for QuickGELU that keeps one
            tensor for the backward pass, ``dict(mlp=False)`` for MLP and
            AdaptFormer as one function; False for both.
        recompute: Trade time for memory: ``'mlp'`` keeps no hidden units of
            the MLPs for the backward pass, ``'block'`` only the inputs of
            blocks. None keeps all.
        frozen_dtype: Keep frozen weights of linear and convolution layers
            in ``'bfloat16'`` or ``'float16'``; the backbone then computes
            in that type under autocast, and its outputs are fp32.

    Raises:
        ValueError: A tuner does not exist or does not fit, or the backbone
            recomputes activations in a way that hooks do not survive.
    """
    if isinstance(backbone, nn.Module):
        net, name = backbone, type(backbone).__name__
        if hasattr(net, 'is_init'):
            net.is_init = True  # a runner would draw its weights anew
    else:
        net = MMPRETRAIN_MODELS.build(backbone)
        name = _describe(backbone)
        initialize(net)
    if any(getattr(module, 'with_cp', False) for module in net.modules()):
        raise ValueError(
            f'with_cp=True of {type(net).__name__} recomputes activations '
            'in a way that gives tuners wrong gradients; drop the key '
            "`backbone.backbone.with_cp` and set `backbone.recompute='block'`."
        )
    float_drop_path(net)
    guard = freeze(net, name)
    guard.tuners += attach_tuners(net, tuners, num_classes)
    speed_up(net, fast, recompute, frozen_dtype)
    return net


def _describe(config: dict) -> str:
    name = str(config['type']).removeprefix('lift_mm.')
    what = [config.get('arch'), config.get('pretrained')]
    init_cfg = config.get('init_cfg')
    if isinstance(init_cfg, dict):
        what.append(init_cfg.get('checkpoint'))
    return f'{name}({", ".join(w for w in what if isinstance(w, str))})'
