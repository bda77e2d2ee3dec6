"""Put leaner arithmetic in place of a net's modules, and take it out again.

Which modules: activations that keep too much, an MLP together with its norm
and the AdaptFormer beside it, whole blocks that are to be recomputed. No key
and no parameter changes, and all of it is undone by :func:`slow_down`.
"""

import inspect

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lift_mm.fast.activation import LeanQuickGELU, activation_name
from lift_mm.fast.half import HalfForward, halve
from lift_mm.fast.mlp import Branch, Frozen, mlp_with_branch
from lift_mm.fast.recompute import Recompute

from .adaptformer import AdaptFormerBranch
from .blocks import Block, find_blocks
from .fuse import find_activation, find_mlp, why_not

SWITCHES = ('activation', 'mlp')
_HALF = dict(bfloat16=torch.bfloat16, float16=torch.float16)


class FastMLP:
    """Norm, MLP and AdaptFormer of a block as one function.

    It stands in for ``forward`` of the norm, which lets the residual stream
    through, and of the MLP, which does the rest. Where somebody has put a
    hook between them, or lets base weights learn, the modules compute as
    ever.

    Args:
        block: The block.
        branch: Its AdaptFormer.
        recompute: Whether the backward pass computes the hidden units
            again.
    """

    def __init__(
        self, block: Block, branch: AdaptFormerBranch, recompute: bool
    ) -> None:
        self.norm, self.fc1, self.fc2 = (
            block.sites[site] for site in ('norm2', 'fc1', 'fc2')
        )
        self.mlp = find_mlp(block.module)
        self.branch = branch
        parent, name = find_activation(self.mlp)
        self.act = activation_name(parent._modules[name])
        self.recompute = recompute
        hooks = self.norm._forward_pre_hooks
        self.taps = {
            key: hook
            for key, hook in hooks.items()
            if getattr(hook, '__self__', None) is branch
        }
        for key in self.taps:
            del hooks[key]
        self.norm.forward = self.let_through
        self.mlp.forward = self.forward

    def remove(self) -> None:
        """Give norm and MLP their own ``forward`` and hooks back."""
        del self.norm.forward
        del self.mlp.forward
        self.norm._forward_pre_hooks.update(self.taps)

    def let_through(self, x: Tensor) -> Tensor:
        """Give the residual stream as it is, or normalised."""
        if self._alone():
            return x
        self.branch.tap(self.norm, (x,))
        return type(self.norm).forward(self.norm, x)

    def forward(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        """Compute the MLP and the branch, (B, N, D) -> (B, N, D)."""
        if not self._alone():
            given = () if identity is None else (identity,)
            return type(self.mlp).forward(self.mlp, x, *given)
        parts = (x, *self._tensors(), identity is x)
        if self.recompute and torch.is_grad_enabled():
            out = checkpoint(mlp_with_branch, *parts, use_reentrant=False)
        else:
            out = mlp_with_branch(*parts)
        return out if identity is None or identity is x else identity + out

    def _tensors(self) -> tuple[Frozen, Branch]:
        norm, fc1, fc2, branch = self.norm, self.fc1, self.fc2, self.branch
        frozen = Frozen(
            norm.weight,
            norm.bias,
            fc1.weight,
            fc1.bias,
            fc2.weight,
            fc2.bias,
            self.act,
            norm.eps,
        )
        learned = Branch(
            branch.norm.weight,
            branch.norm.bias,
            branch.down.weight,
            branch.down.bias,
            branch.up.weight,
            branch.up.bias,
            branch.scale,
        )
        return frozen, learned

    def _alone(self) -> bool:
        """Whether the modules would do nothing else than this function.

        Asked anew each time, and nothing is remembered: a block may be
        computed twice, and compiled.
        """
        layers = (self.norm, self.fc1, self.fc2)
        learns = any(
            p.requires_grad for m in layers for p in m.parameters(False)
        )
        inside = (m for m in self.mlp.modules() if m is not self.mlp)
        hooked = any(
            m._forward_hooks or m._forward_pre_hooks
            for m in (self.norm, *inside)
        )
        active = self.branch.enabled and not self.mlp.training
        return active and not learns and not hooked


def speed_up(
    net: nn.Module,
    fast: bool | dict = True,
    recompute: str | None = None,
    frozen_dtype: str | None = None,
) -> None:
    """Make training steps of a tuned net leaner; see ``TunedBackbone``.

    Args:
        net: A frozen net with its tuners.
        fast: Switches by name, ``dict(activation=True, mlp=True)``; True and
            False stand for all of them.
        recompute: None, ``'mlp'`` or ``'block'``.
        frozen_dtype: None, ``'bfloat16'`` or ``'float16'``.

    Raises:
        ValueError: An unknown switch or value.
    """
    switches = _switches(fast)
    _check('recompute', recompute, (None, 'mlp', 'block'))
    _check('frozen_dtype', frozen_dtype, (None, *_HALF))
    slow_down(net)
    undo = net.frozen_base.shortcuts
    if switches['activation']:
        undo += _lean_activations(net)
    branches = any(type(m) is AdaptFormerBranch for m in net.modules())
    worth = recompute or (switches['mlp'] and branches)
    for block in find_blocks(net) if worth else ():
        if block.residual:  # of a ResNet
            if recompute == 'mlp':
                raise ValueError(
                    f"recompute='mlp' does not fit {type(net).__name__}, "
                    "whose blocks have no MLP; use recompute='block' (key "
                    '`backbone.recompute`).'
                )
        else:
            undo += _fast_mlp(block, switches['mlp'], recompute == 'mlp')
        if recompute == 'block':
            undo.append(Recompute(block.module))
    if frozen_dtype is not None:
        halve(net, _HALF[frozen_dtype])
        undo.append(HalfForward(net, _HALF[frozen_dtype]))


def slow_down(net: nn.Module) -> None:
    """Let the modules of a net compute themselves again.

    Weights in half precision become fp32 ones with the digits that are left.
    """
    guard = net._modules.get('frozen_base')
    while guard is not None and guard.shortcuts:
        guard.shortcuts.pop().remove()


def _switches(fast) -> dict[str, bool]:
    if isinstance(fast, bool):
        return dict.fromkeys(SWITCHES, fast)
    if not isinstance(fast, dict) or not fast.keys() <= set(SWITCHES):
        raise ValueError(
            f'fast={fast!r} must be True, False or a dict of switches; '
            f'known: {", ".join(SWITCHES)} (key `backbone.fast`).'
        )
    return {**dict.fromkeys(SWITCHES, True), **fast}


def _check(key: str, value, possible: tuple) -> None:
    if value not in possible:
        raise ValueError(
            f'{key}={value!r} is unknown; possible: '
            f'{", ".join(map(repr, possible))} (key `backbone.{key}`).'
        )


def _fast_mlp(block: Block, fast: bool, recompute: bool) -> list:
    branch = block.module._modules.get('adaptformer')
    mlp = find_mlp(block.module)
    if fast and branch is not None and _fits(block, branch, mlp):
        return [FastMLP(block, branch, recompute)]
    return [Recompute(mlp)] if recompute else []


def _fits(block: Block, branch: AdaptFormerBranch, mlp: nn.Module) -> bool:
    """Whether one function computes what the modules do."""
    if why_not(block, branch) is not None:
        return False
    parent, name = find_activation(mlp)
    layers = [block.sites[site] for site in ('norm2', 'fc1', 'fc2')]
    known = list(inspect.signature(type(mlp).forward).parameters)
    return (
        activation_name(parent._modules[name]) is not None
        and all(m.weight is not None and m.bias is not None for m in layers)
        and known in (['self', 'x'], ['self', 'x', 'identity'])
    )


class _Exchange:
    """One module in the place of another."""

    def __init__(self, parent: nn.Module, name: str, new: nn.Module) -> None:
        self.parent, self.name = parent, name
        self.old = parent._modules[name]
        new.train(self.old.training)
        parent._modules[name] = new

    def remove(self) -> None:
        self.parent._modules[self.name] = self.old


def _lean_activations(net: nn.Module) -> list[_Exchange]:
    found = [
        (parent, name)
        for parent in net.modules()
        for name, child in parent._modules.items()
        if type(child).__name__ == 'QuickGELU' and not child._forward_hooks
    ]
    return [_Exchange(*place, LeanQuickGELU()) for place in found]
