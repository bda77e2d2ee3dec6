"""Which tensors of a model were learned, and which its base brings along."""

from torch import nn
from torch.nn import Parameter

from .freeze import FrozenBase


def learned_parameters(model: nn.Module) -> dict[str, Parameter]:
    """Give the parameters that training changes, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def frozen_keys(model: nn.Module) -> set[str]:
    """Give the state-dict keys that the base weights bring along.

    These need not be saved: building the model loads them again. A base that
    a checkpoint has replaced is not among them.
    """
    keys: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, FrozenBase) and not module.replaced:
            prefix = name.removesuffix('frozen_base')
            keys.update(prefix + key for key in module.keys)
    return keys - learned_parameters(model).keys()
