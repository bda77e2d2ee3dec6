"""AdaptFormer as a part of the MLP beside which it stands.

Branch and MLP both start with a norm of the residual stream. With scale and
shift of each norm folded into the linear layer behind it, they share one
norm without affine, and the branch's bottleneck becomes further hidden units
with an activation of their own: no extra layer, and exact.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .adaptformer import AdaptFormerBranch
from .base import TunerModule
from .blocks import Block

# Blocks known to compute x + mlp(norm2(x)) and nothing else behind the
# attention.
_PLAIN = (
    'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer',
    'mmpretrain.models.backbones.beit.BEiTTransformerEncoderLayer',
    'mmpretrain.models.backbones.swin_transformer.SwinBlock',
    'timm.models.vision_transformer.Block',
)


def tuner_name(module: TunerModule) -> str:
    """Give the name of the tuner that a module belongs to."""
    for name, tuner in TUNERS.module_dict.items():
        if tuner.__module__ == type(module).__module__:
            return name
    return type(module).__name__


class SplitActivation(nn.Module):
    """An activation whose last units are ReLUs.

    Args:
        act: Elementwise activation of the other units, or another of this
            class, to whose ReLUs further ones are added.
        tail: Number of ReLUs.
    """

    def __init__(self, act: nn.Module, tail: int) -> None:
        super().__init__()
        if isinstance(act, SplitActivation):
            act, tail = act.act, act.tail + tail
        self.act = act
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        """Map hidden units, (..., h + tail) -> (..., h + tail)."""
        tail = F.relu(x[..., -self.tail :])
        if torch.is_grad_enabled():
            return torch.cat([self.act(x[..., : -self.tail]), tail], dim=-1)
        out = self.act(x)  # a few units too many cost less than a copy
        out[..., -self.tail :] = tail
        return out

    def extra_repr(self) -> str:
        """Show the number of ReLUs."""
        return f'tail={self.tail}'


def why_not(block: Block, branch: AdaptFormerBranch) -> str | None:
    """Say what keeps a branch from being fused into the MLP, if anything."""
    module, sites = block.module, block.sites
    mlp = find_mlp(module)
    norm = sites['norm2']
    kind = type(module)
    if f'{kind.__module__}.{kind.__qualname__}' not in _PLAIN:
        return f'{kind.__name__} is not known to add its MLP to the residual'
    if find_activation(mlp) is None or not {'fc1', 'fc2'} <= set(sites):
        return f'{type(mlp).__name__} is not a plain MLP of two layers'
    scales = (
        mlp._modules.get('gamma2'),
        module._modules.get('ls2'),
        module._parameters.get('gamma_2'),
    )
    if any(not isinstance(s, (nn.Identity, type(None))) for s in scales):
        return 'the block scales what comes out of its MLP'
    if norm.eps != branch.norm.eps:
        return (
            f"its norm has eps {branch.norm.eps:g} and the block's "
            f'{norm.eps:g} (a tuner with eps=None takes the same)'
        )
    changed = [
        hook
        for layer in (norm, *mlp.modules())
        for hook in (
            *layer._forward_hooks.values(),
            vars(layer).get('forward'),
        )
        if hook is not None
    ]
    if changed:
        owner = getattr(changed[0], '__self__', None)
        name = tuner_name(owner) if owner is not None else 'a hook'
        return f'{name} stays in the MLP that it would become a part of'
    before = [*norm._forward_pre_hooks.values()]
    before += list(module._forward_hooks.values())[:1]
    if any(getattr(h, '__self__', None) is not branch for h in before):
        return 'another hook works on what it reads or adds to'
    return None


def find_mlp(module: nn.Module) -> nn.Module:
    """Give the MLP of a block."""
    return module._modules.get('ffn', module._modules.get('mlp'))


def find_activation(mlp: nn.Module) -> tuple[nn.Module, str] | None:
    """Give the module that holds a plain MLP's activation, and its name."""
    if type(mlp).__name__ == 'FFN':  # mmcv's
        return (mlp.layers[0], '1') if len(mlp.layers) == 3 else None
    plain = type(mlp).__name__ == 'Mlp' and hasattr(mlp, 'act')
    inner = getattr(mlp, 'norm', None)  # of timm's
    if plain and isinstance(inner, (nn.Identity, type(None))):
        return mlp, 'act'
    return None


@torch.no_grad()
def fuse(block: Block, branch: AdaptFormerBranch) -> None:
    """Make a branch a part of the MLP: ``tail`` further hidden units."""
    norm, fc1, fc2 = (block.sites[site] for site in ('norm2', 'fc1', 'fc2'))
    kinds = {layer: layer.weight.dtype for layer in (fc1, fc2)}
    for layer in (fc1, fc2, branch):
        layer.double()
    # W (g * n + b) = (W diag(g)) n + W b, for both norms.
    firsts = ((fc1, norm), (branch.down, branch.norm))
    weights, biases = zip(*(_absorb(fc, ln) for fc, ln in firsts))
    up = branch.scale * branch.up.weight
    _set(fc1, torch.cat(weights), torch.cat(biases))
    shift = branch.scale * branch.up.bias
    old = 0 if fc2.bias is None else fc2.bias
    _set(fc2, torch.cat([fc2.weight, up], dim=1), old + shift)
    if norm.weight is not None:
        norm.weight.fill_(1)
        if norm.bias is not None:
            norm.bias.zero_()
    for layer, kind in kinds.items():
        layer.to(kind)

    tail = branch.down.out_features
    module = block.module
    mlp = find_mlp(module)
    if hasattr(mlp, 'feedforward_channels'):
        mlp.feedforward_channels = fc1.out_features
    parent, name = find_activation(mlp)
    act = parent._modules[name]
    if not isinstance(act, nn.ReLU):
        parent._modules[name] = SplitActivation(act, tail)
    for layer in (norm, module):
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if getattr(hook, '__self__', None) is branch:
                    del hooks[key]


def _absorb(layer: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Give weight and bias of a layer with the norm's affine in them."""
    weight, bias = layer.weight, layer.bias
    if bias is None:
        bias = weight.new_zeros(len(weight))
    if norm.bias is not None:
        bias = bias + weight @ norm.bias.double()
    if norm.weight is not None:
        weight = weight * norm.weight.double()
    return weight, bias


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight = Parameter(weight, requires_grad=False)
    layer.bias = Parameter(bias, requires_grad=False)
    layer.out_features, layer.in_features = weight.shape
