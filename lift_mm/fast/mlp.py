"""A frozen MLP and a bottleneck beside it, with one norm for both.

    h = W1 LN(x; g, b) + b1                the MLP's hidden units, frozen
    z = relu(Wd LN(x; γ, β) + bd)          the bottleneck, learned
    y = x + W2 act(h) + b2 + s (Wu z + bu)

Both norms are of the same x with the same epsilon, so both have the same
x̂ = (x - mean) * rstd. Autograd would keep x, the bottleneck's normalised
input, and what its product with s needs; x, mean, rstd, h and z are enough.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .activation import activate


class Frozen(NamedTuple):
    """What does not learn: affine of the norm, both layers, activation."""

    g: Tensor
    b: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    act: str
    eps: float


class Branch(NamedTuple):
    """What learns: the bottleneck (r of D units) and its scale s."""

    g: Tensor
    b: Tensor
    down: Tensor
    down_b: Tensor
    up: Tensor
    up_b: Tensor
    scale: Tensor


def mlp_with_branch(
    x: Tensor, frozen: Frozen, branch: Branch, residual: bool = True
) -> Tensor:
    """Compute MLP and bottleneck, (..., D) -> (..., D).

    With a fresh bottleneck (``up`` is zero) the result is that of the plain
    modules to the last bit. Under autocast matrix products run in its type
    and norms in fp32, as they do in the modules.

    Args:
        x: The residual stream.
        frozen: The MLP with its norm.
        branch: The bottleneck.
        residual: Whether to add x itself.
    """
    dtype = _product_type(x, frozen.w1)
    first = (*branch[:4], *frozen[:4], frozen.eps, dtype)
    if torch.is_grad_enabled():
        hidden, units = _FirstLayers.apply(x, x.requires_grad, *first)
    else:
        hidden, units = _first_layers(x, *first)[:2]
    units = F.relu(units)
    # What is kept comes before the largest product: recomputation ends there.
    shift = frozen.b2 + branch.scale * branch.up_b
    up = (branch.scale * branch.up).to(dtype)
    y = torch.addmm(shift.to(dtype), units, up.t())
    hidden = activate(frozen.act, hidden)
    y = torch.addmm(y, hidden, frozen.w2.to(dtype).t()).view(x.shape)
    return x + y if residual else y


def _product_type(x: Tensor, weight: Tensor) -> torch.dtype:
    kind = x.device.type
    # 'meta' has no autocast, and asking for it is an error.
    known = torch.amp.is_autocast_available(kind)
    if known and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return weight.dtype


def _norm(x: Tensor, g: Tensor | None, b: Tensor | None, eps: float):
    """Give normalised rows, their mean and 1 / deviation."""
    return torch.native_layer_norm(x, x.shape[-1:], g, b, eps)


def _first_layers(x, g, b, down, down_b, frozen_g, frozen_b, w1, b1, eps, to):
    """Give h, z before its ReLU, and what a backward pass needs."""
    rows = x.reshape(-1, x.shape[-1]).to(g.dtype)
    normed, mean, rstd = _norm(rows, frozen_g, frozen_b, eps)
    hidden = torch.addmm(b1.to(to), normed.to(to), w1.to(to).t())
    normed = _norm(rows, g, b, eps)[0]
    units = torch.addmm(down_b.to(to), normed.to(to), down.to(to).t())
    return hidden, units, rows, mean, rstd


class _FirstLayers(torch.autograd.Function):
    """``_first_layers`` that keeps x, mean and rstd."""

    @staticmethod
    def forward(ctx, x, needs_x, *args):
        g, b, down, _, frozen_g, _, w1, _, eps, to = args
        hidden, units, *kept = _first_layers(x, *args)
        ctx.save_for_backward(*kept, g, b, down, frozen_g, w1)
        ctx.eps, ctx.to, ctx.needs_x = eps, to, needs_x
        ctx.shape, ctx.dtype = x.shape, x.dtype
        if not needs_x:  # then nobody keeps the hidden units
            ctx.mark_non_differentiable(hidden)
        return hidden, units

    @staticmethod
    def backward(ctx, dh, dz):
        rows, mean, rstd, g, b, down, frozen_g, w1 = ctx.saved_tensors
        # Gradients of the affine follow from those of the product and x̂:
        # no pass over the tokens is made for them.
        x_hat = _norm(rows, None, None, ctx.eps)[0].to(ctx.to)
        inner = (dz.t() @ x_hat).to(g.dtype)
        d_down_b = dz.sum(0, dtype=g.dtype)
        learned = (
            (inner * down).sum(0),
            d_down_b @ down,
            inner * g + torch.outer(d_down_b, b),
            d_down_b,
        )
        if not ctx.needs_x:
            return (None, None, *learned, *[None] * 6)
        side = (dz @ (down * g).to(ctx.to)).to(g.dtype)
        dx = torch.addcmul(side, (dh @ w1.to(ctx.to)).to(g.dtype), frozen_g)
        dx = torch.ops.aten.native_layer_norm_backward(
            dx,
            rows,
            rows.shape[-1:],
            mean,
            rstd,
            None,
            None,
            [True, False, False],
        )[0]
        dx = dx.view(ctx.shape).to(ctx.dtype)
        return (dx, None, *learned, *[None] * 6)
