"""Fold tuners into the weights of the net that they tune.

A tuner's module that can be folded has ``merge_into(layer)``: what its hook
does to a layer's output, done to the layer's weights. What cannot be folded
may say why in the attribute ``stays``. AdaptFormer widens the MLP instead,
which is exact because both start with a norm of the same residual stream.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from .adaptformer import AdaptFormerBranch
from .base import TunerModule
from .blocks import find_blocks
from .freeze import FrozenBase, fingerprint
from .fuse import fuse, tuner_name, why_not
from .speed import slow_down


def fold(net: nn.Module, widen: bool = True) -> list[str]:
    """Fold every tuner that can be into the weights, in place.

    In eval mode the net computes what it did before. Arithmetic is float64,
    weights keep their type. A tuner that is disabled vanishes.

    Args:
        net: A net, or a model with nets inside, with tuners attached.
        widen: Whether AdaptFormer may widen the MLPs.

    Returns:
        One sentence for each tuner that stays, with the reason and places.
    """
    done: set[nn.Module] = set()
    reasons: dict[nn.Module, str] = {}
    for module in list(net.modules()):
        slow_down(module)
    for module in list(net.modules()):
        _drop_disabled(module, done)
        _fold_hooks(module, done, reasons)
    branches = {m for m in net.modules() if type(m) is AdaptFormerBranch}
    if branches - done:
        for block in find_blocks(net):
            branch = block.module._modules.get('adaptformer')
            if branch in branches - done:
                reason = why_not(block, branch)
                if reason is None and not widen:
                    reason = 'a config cannot describe the wider MLP'
                if reason is None:
                    fuse(block, branch)
                    done.add(branch)
                else:
                    reasons[branch] = reason
    _remove(net, done)
    left = _sentences(net, reasons)
    for module in list(net.modules()):
        if isinstance(module, FrozenBase):
            _settle(module)
    return left


def remaining(net: nn.Module) -> Iterator[tuple[str, TunerModule]]:
    """Give the modules of tuners in a net, without mere containers."""
    for name, module in net.named_modules():
        if isinstance(module, TunerModule) and type(module) is not TunerModule:
            yield name, module


def _hooks(module: nn.Module) -> Iterator[tuple[dict, int, TunerModule]]:
    """Give the hooks of tuners on a module, and where they stand."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key, hook in list(hooks.items()):
            owner = getattr(hook, '__self__', None)
            if isinstance(owner, TunerModule):
                yield hooks, key, owner


def _replaced_by(layer: nn.Module) -> nn.Module | None:
    """Give the tuner's module that has taken the place of ``forward``."""
    return getattr(layer.__dict__.get('forward'), '__self__', None)


def _drop_disabled(module: nn.Module, done: set) -> None:
    for hooks, key, owner in _hooks(module):
        if not owner.enabled:
            del hooks[key]
            done.add(owner)
    owner = _replaced_by(module)
    if isinstance(owner, TunerModule) and not owner.enabled:
        del module.forward
        done.add(owner)


def _fold_hooks(layer: nn.Module, done: set, reasons: dict) -> None:
    """Fold what acts on a layer's output, first come first."""
    stands = None  # the first that cannot be folded
    owner = _replaced_by(layer)
    if isinstance(owner, TunerModule):
        stands = _fold_one(layer, owner, done, reasons, stands)
        if stands is None:
            del layer.forward
    for key, hook in list(layer._forward_hooks.items()):
        owner = getattr(hook, '__self__', hook)
        stands = _fold_one(layer, owner, done, reasons, stands)
        if stands is None:
            del layer._forward_hooks[key]


def _fold_one(layer, owner, done: set, reasons: dict, stands):
    """Fold one of them, or give the one that stands in the way."""
    if not hasattr(owner, 'merge_into'):
        return stands or owner
    reason = None
    if stands is not None:
        is_tuner = isinstance(stands, TunerModule)
        name = tuner_name(stands) if is_tuner else 'a hook'
        reason = f'it works on what comes out of {name}, which stays'
    elif not isinstance(layer, (nn.Linear, nn.LayerNorm)):
        reason = f'{type(layer).__name__} has no weights to fold it into'
    if reason is not None:
        reasons[owner] = reason
        return stands or owner
    kind = next(layer.parameters(), next(owner.parameters())).dtype
    layer.double()
    owner.double().merge_into(layer)
    layer.to(kind).requires_grad_(False)
    done.add(owner)
    return None


def _remove(net: nn.Module, done: set) -> None:
    """Remove folded modules, and containers with nothing in them."""
    for module in reversed(list(net.modules())):  # children first
        for name, child in list(module._modules.items()):
            empty = type(child) is TunerModule and not child._modules
            if child in done or empty:
                del module._modules[name]


def _sentences(net: nn.Module, reasons: dict) -> list[str]:
    """Name what stays: tuner, places, reason."""
    places: dict[tuple[str, str], list[str]] = {}
    for name, module in remaining(net):
        default = getattr(module, 'stays', 'it has no way of being folded')
        key = (tuner_name(module), reasons.get(module, default))
        places.setdefault(key, []).append(name.rpartition('.')[0] or name)
    found = []
    for (tuner, reason), where in places.items():
        span = where[0] if len(where) == 1 else f'{where[0]} to {where[-1]}'
        found.append(f'{tuner} stays in {span} ({len(where)}x): {reason}.')
    return found


def _settle(guard: FrozenBase) -> None:
    """Let a guard know the new base, or remove it with the last tuner."""
    net = guard._net[0]
    left = dict(remaining(net))
    tuned = {id(p) for m in left.values() for p in m.parameters()}
    for parameter in net.parameters():
        if id(parameter) not in tuned:
            parameter.requires_grad_(False)
    if not left:
        del net._modules['frozen_base']
        _never_drop(net)
        return
    names = {tuner_name(module) for module in left.values()}
    guard.tuners = [t for t in guard.tuners if t['type'] in names]
    guard._originals, guard.moving = {}, []
    inside = tuple(f'{name}.' for name in left)
    state = net.state_dict()
    guard.keys = [key for key in state if not key.startswith(inside)]
    guard.fingerprint = fingerprint({key: state[key] for key in guard.keys})
    guard.replaced = True


def _never_drop(net: nn.Module) -> None:
    """Switch dropout off for good: a frozen net never drops anything."""
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for key in ('drop_prob', 'attn_drop'):
            if isinstance(getattr(module, key, None), float):
                setattr(module, key, 0.0)
