"""Freeze a net once, keep it in eval mode, and remember what it was."""

import hashlib

import torch
from torch import nn

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
        tuners: What was attached, see ``Tuner.spec``.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self._net = [net]  # in a list: not a child of its own child
        self.name = name
        self.keys = list(net.state_dict())
        self.fingerprint = fingerprint(net)
        self.tuners: list[dict] = []

    def train(self, mode: bool = True) -> 'FrozenBase':
        """Put everything that does not learn back into eval mode."""
        super().train(False)
        _eval_frozen(self._net[0])
        return self


def _eval_frozen(module: nn.Module) -> None:
    if isinstance(module, TunerModule):
        return
    learns = any(p.requires_grad for p in module.parameters(recurse=False))
    if not learns:
        module.training = False
    for child in module.children():
        _eval_frozen(child)


def fingerprint(net: nn.Module) -> str:
    """Give the SHA-256 of all weights and buffers of a net, with names."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
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
