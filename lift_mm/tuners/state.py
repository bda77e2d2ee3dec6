"""Which tensors of a model were learned, and which its base brings along."""

from torch import nn
from torch.nn import Parameter

from .base import TunerModule
from .freeze import FrozenBase


def learned_parameters(model: nn.Module) -> dict[str, Parameter]:
    """Give the parameters that training changes, by name.

    Args:
        model: A model, or a part of one.
    """
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def learned_parts(model: nn.Module) -> dict[str, int]:
    """Count learned parameters by what they belong to.

    Args:
        model: A model, or a part of one.

    Returns:
        Numbers by name: each tuner's child name (``'adaptformer'``),
        ``'base weights'`` that learn themselves (BitFit and the like), and
        whatever lies outside frozen nets by its top name (``'head'``).
    """
    bases, tuners = [], []
    for name, module in model.named_modules():
        if isinstance(module, FrozenBase):
            bases.append(name.removesuffix('frozen_base'))
        elif isinstance(module, TunerModule):
            if not any(name.startswith(outer) for outer in tuners):
                tuners.append(name + '.')
    parts: dict[str, int] = {}
    for name, parameter in learned_parameters(model).items():
        tuner = next((t for t in tuners if name.startswith(t)), None)
        if tuner:
            part = tuner.rstrip('.').rpartition('.')[2]
        elif any(name.startswith(base) for base in bases):
            part = 'base weights'
        else:
            part = name.partition('.')[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    return parts


def frozen_keys(model: nn.Module) -> set[str]:
    """Give the state-dict keys that the base weights bring along.

    These need not be saved: building the model loads them again. A base that
    a checkpoint has replaced is not among them.

    Args:
        model: A model, or a part of one.
    """
    keys: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, FrozenBase) and not module.replaced:
            prefix = name.removesuffix('frozen_base')
            base = set(module.keys) - module.learned_keys()
            keys.update(prefix + key for key in base)
    return keys
