"""Frozen weights in half precision."""

import torch
from torch import Tensor, nn


class HalfForward:
    """Stands in for ``forward`` of a net with weights in half precision.

    Matrix products run in that type by autocast, whoever calls the net; its
    outputs are fp32 again.

    Args:
        net: The net; call :meth:`remove` to undo.
        dtype: The weights' type.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        self.net = net
        self.dtype = dtype
        net.forward = self.forward

    def remove(self) -> None:
        """Give the net its own ``forward`` back, and weights in fp32.

        They keep the digits that half precision has left.
        """
        del self.net.forward
        for parameter in self.net.parameters():
            if parameter.dtype == self.dtype:
                parameter.data = parameter.data.float()

    def forward(self, *args, **kwargs):
        """Compute the net in half precision."""
        device = next(self.net.parameters()).device.type
        with torch.autocast(device, self.dtype):
            out = type(self.net).forward(self.net, *args, **kwargs)
        return _float(out)


def _float(out):
    if isinstance(out, Tensor):
        return out.float() if out.is_floating_point() else out
    if isinstance(out, (tuple, list)):
        return type(out)(_float(part) for part in out)
    return out


def halve(net: nn.Module, dtype: torch.dtype) -> None:
    """Turn frozen weights of linear and convolution layers into a half type.

    Norms, positions and everything that learns stay as they are.
    """
    for module in net.modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
