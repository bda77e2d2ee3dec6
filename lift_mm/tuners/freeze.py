"""Freeze a net once, keep it in eval mode, and remember what it was."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from .base import TunerModule


class FrozenBase(nn.Module):
    """Guard of a frozen net, kept as its last child ``frozen_base``.

    It holds no tensor, so no key of the net changes. As a child it hears of
    ``net.train()`` after the others and puts the frozen ones back into eval
    mode (dropout and BatchNorm of a frozen part would otherwise move).

    Args:
        net: The net, with its base weights loaded.
        name: What to call it in messages.

    Attributes:
        keys: The net's state-dict keys before any tuner.
        fingerprint: SHA-256 of the base weights.
        replaced: Whether a checkpoint has brought other base weights than
            those with which the net was built.
        tuners: What was attached, see ``Tuner.spec``.
        tuned: False while the base's own values stand in for learned ones.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self._net = [net]  # in a list: not a child of its own child
        self.name = name
        self.keys = list(net.state_dict())
        self.fingerprint = fingerprint(net.state_dict())
        self.replaced = False
        self.tuners: list[dict] = []
        self.tuned = True
        self._originals: dict[str, Tensor] = {}

    def notice(self, state: dict[str, Tensor]) -> None:
        """Take notice of base weights that are about to be loaded.

        Args:
            state: Tensors by their keys in the net; others are ignored.
        """
        net = self._net[0]
        learned = {n for n, p in net.named_parameters() if p.requires_grad}
        base = {
            key: value
            for key, value in net.state_dict().items()
            if key in self.keys and key not in learned
        }
        new = {key: state[key] for key in base if key in state}
        if all(_equal(value, base[key]) for key, value in new.items()):
            return
        self.fingerprint = fingerprint({**base, **new})
        self.replaced = True

    def train(self, mode: bool = True) -> 'FrozenBase':
        """Put everything that does not learn back into eval mode."""
        super().train(False)
        _eval_frozen(self._net[0])
        return self

    def unlock(self, parameters: Iterable[Parameter]) -> None:
        """Let base parameters learn, and keep their values on the CPU."""
        chosen = {id(parameter) for parameter in parameters}
        for name, parameter in self._net[0].named_parameters():
            if id(parameter) in chosen and name not in self._originals:
                self._originals[name] = parameter.detach().cpu().clone()
                parameter.requires_grad_(True)

    def swap_originals(self) -> None:
        """Exchange learned base values with those from before."""
        self.tuned = not self.tuned
        for name, value in self._originals.items():
            parameter = self._net[0].get_parameter(name)
            self._originals[name] = parameter.detach().cpu().clone()
            parameter.data.copy_(value)


def _eval_frozen(module: nn.Module) -> None:
    if isinstance(module, TunerModule):
        return
    learns = any(p.requires_grad for p in module.parameters(recurse=False))
    if not learns:
        module.training = False
    for child in module.children():
        _eval_frozen(child)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to(other), other)


def fingerprint(state: dict[str, Tensor]) -> str:
    """Give the SHA-256 of weights and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        value = value.detach().cpu().contiguous()
        digest.update(f'{name}{tuple(value.shape)}{value.dtype}'.encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def freeze(net: nn.Module, name: str) -> FrozenBase:
    """Freeze all parameters of a net; a second call changes nothing.

    Args:
        net: Any net with its base weights loaded.
        name: What to call it in messages, e.g. ``'CLIPViT(ViT-B-16)'``.

    Returns:
        The guard, which is also ``net.frozen_base``.
    """
    guard = net._modules.get('frozen_base')
    if guard is None:
        net.requires_grad_(False)
        guard = FrozenBase(net, name)
        net.add_module('frozen_base', guard)
        net.train(net.training)
    return guard
