"""Keep a module's input for the backward pass, and compute the rest again."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recompute:
    """Stands in for ``forward`` of a module, with its forward hooks inside.

    Non-reentrant: hooks of tuners see a graph, and the second pass ends as
    soon as it has what the backward pass needs. Hooks behind the module are
    taken along, because what they keep for the backward pass would stay
    otherwise.

    Args:
        module: The module; call :meth:`remove` to undo.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.inner = vars(module).get('forward')
        self.hooks = dict(module._forward_hooks)
        module._forward_hooks.clear()
        module.forward = self.forward

    def remove(self) -> None:
        """Give the module its own ``forward`` and its hooks back."""
        del self.module.forward
        if self.inner is not None:
            self.module.forward = self.inner
        self.module._forward_hooks.update(self.hooks)

    def forward(self, *args, **kwargs):
        """Compute the module, keeping little where a graph is kept."""
        if not torch.is_grad_enabled():
            return self.run(*args, **kwargs)
        return checkpoint(self.run, *args, use_reentrant=False, **kwargs)

    def run(self, *args, **kwargs):
        """Compute the module and the hooks behind it."""
        if self.inner is not None:
            out = self.inner(*args, **kwargs)
        else:
            out = type(self.module).forward(self.module, *args, **kwargs)
        for hook in self.hooks.values():
            changed = hook(self.module, args, out)
            out = out if changed is None else changed
        return out
