"""Freeze a net once, keep it in eval mode, and remember what it was."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm

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
        moving: Names of BatchNorms whose statistics follow the training.
        tuned: False while the base's own values stand in for learned ones.
        shortcuts: What :mod:`.speed` has put in place, to be taken out.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self._net = [net]  # in a list: not a child of its own child
        self.name = name
        self.keys = list(net.state_dict())
        self.fingerprint = fingerprint(net.state_dict())
        self.replaced = False
        self.tuners: list[dict] = []
        self.shortcuts: list = []
        self.moving: list[str] = []
        self._mode = net.training  # of the net, which is frozen itself
        self.tuned = True
        self._originals: dict[str, Tensor] = {}

    def notice(self, state: dict[str, Tensor]) -> None:
        """Take notice of base weights that are about to be loaded.

        Args:
            state: Tensors by their keys in the net; others are ignored.
        """
        learned = self.learned_keys()
        base = {
            key: value
            for key, value in self._net[0].state_dict().items()
            if key in self.keys and key not in learned
        }
        new = {key: state[key] for key in base if key in state}
        if all(_equal(value, base[key]) for key, value in new.items()):
            return
        self.fingerprint = fingerprint({**base, **new})
        self.replaced = True

    def start_from(self, state: dict[str, Tensor], root: str) -> None:
        """Let tuners that copied base values start from another base.

        Args:
            state: A whole base without tuners that is about to be loaded;
                what tuners start with is added to it.
            root: What its keys begin with.
        """
        for name in self._originals:
            self._originals[name] = state[root + name].detach().cpu().clone()
        net = self._net[0]
        names = {module: name for name, module in net.named_modules()}
        for module, name in names.items():
            if hasattr(module, 'start_values'):  # of MaskedTuning
                layer = f'{root}{names[module.layer]}.'
                found = module.start_values(
                    state[layer + 'weight'], state[layer + 'bias']
                )
                for key, value in found.items():
                    state.setdefault(f'{root}{name}.{key}', value)

    def train(self, mode: bool = True) -> 'FrozenBase':
        """Put everything that does not learn back into eval mode."""
        super().train(False)
        self._mode = mode
        net = self._net[0]
        _eval_frozen(net)
        for name in self.moving:
            net.get_submodule(name).training = mode and self.tuned
        return self

    def unlock(
        self, parameters: Iterable[Parameter], statistics: bool = False
    ) -> None:
        """Let base parameters learn, and keep their values on the CPU.

        Args:
            parameters: Some of the net's.
            statistics: Whether BatchNorms that learn go into train mode, so
                that their running statistics move.
        """
        net = self._net[0]
        chosen = {id(parameter) for parameter in parameters}
        for name, parameter in net.named_parameters():
            if id(parameter) in chosen:
                self._keep(name, parameter)
                parameter.requires_grad_(True)
        for name, module in net.named_modules() if statistics else ():
            own = {id(p) for p in module.parameters(recurse=False)}
            if isinstance(module, _BatchNorm) and own & chosen:
                for key, buffer in module.named_buffers(prefix=name):
                    self._keep(key, buffer)
                self.moving.append(name)
        self.train(self._mode)

    def _keep(self, name: str, value: Tensor) -> None:
        self._originals.setdefault(name, value.detach().cpu().clone())

    def learned_keys(self) -> set[str]:
        """Give the base's state-dict keys whose values training changes."""
        net = self._net[0]
        keys = {n for n, p in net.named_parameters() if p.requires_grad}
        for name in self.moving:
            module = net.get_submodule(name)
            keys.update(key for key, _ in module.named_buffers(prefix=name))
        return keys

    def swap_originals(self) -> None:
        """Exchange learned base values with those from before."""
        self.tuned = not self.tuned
        net = self._net[0]
        tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        for name, value in self._originals.items():
            self._originals[name] = tensors[name].detach().cpu().clone()
            tensors[name].data.copy_(value)
        self.train(self._mode)


def _eval_frozen(module: nn.Module) -> None:
    if isinstance(module, TunerModule):
        return
    learns = any(p.requires_grad for p in module.parameters(recurse=False))
    if not learns or isinstance(module, _BatchNorm):
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
        if hasattr(net, 'frozen_stages'):
            # Swin and ResNet freeze them again with every ``train()``, and
            # what tuners have put into them, too.
            net.frozen_stages = -1
        guard = FrozenBase(net, name)
        net.add_module('frozen_base', guard)
        net.train(net.training)
    return guard
