import pytest
import torch
import torch.nn.functional as F

from lift_mm.fast.mlp import Branch, Frozen, mlp_with_branch

D, H, R = 6, 10, 3


def tensors(learned, dtype=torch.float64):
    """Give random weights, and the residual stream."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    frozen = [draw(D), draw(D), draw(H, D), draw(H), draw(D, H), draw(D)]
    branch = [draw(D), draw(D), draw(R, D), draw(R), draw(D, R), draw(D)]
    branch = [t.requires_grad_(learned) for t in (*branch, draw(1))]
    return draw(2, 4, D), frozen, branch


def modules(x, frozen, branch, act, residual):
    """Write out what the modules of a block compute."""
    g, b, w1, b1, w2, b2 = frozen
    bg, bb, down, down_b, up, up_b, scale = branch
    h = F.linear(F.layer_norm(x, (D,), g, b, 1e-5), w1, b1)
    if act == 'quick_gelu':
        a = h * torch.sigmoid(1.702 * h)
    else:
        a = F.gelu(h, approximate='tanh' if 'tanh' in act else 'none')
    y = F.linear(a, w2, b2)
    z = F.relu(F.linear(F.layer_norm(x, (D,), bg, bb, 1e-5), down, down_b))
    return (x if residual else 0) + y + scale * F.linear(z, up, up_b)


@pytest.mark.parametrize('act', ['quick_gelu', 'gelu', 'gelu_tanh'])
@pytest.mark.parametrize('residual', [True, False])
@pytest.mark.parametrize('of_x', [True, False])
def test_output_and_every_gradient(act, residual, of_x):
    """To rounding, in float64, against autograd through the formula."""
    x, frozen, branch = tensors(True)
    x.requires_grad_(of_x)
    wanted = [*branch, x] if of_x else branch
    parts = Frozen(*frozen, act, 1e-5), Branch(*branch)
    out = mlp_with_branch(x, *parts, residual=residual)
    expected = modules(x, frozen, branch, act, residual)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    grad = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad(out, wanted, grad),
        torch.autograd.grad(expected, wanted, grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_same_without_a_graph():
    x, frozen, branch = tensors(True)
    parts = Frozen(*frozen, 'quick_gelu', 1e-5), Branch(*branch)
    out = mlp_with_branch(x, *parts)
    with torch.no_grad():
        assert torch.equal(mlp_with_branch(x, *parts), out)


def kept(x, parts):
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        mlp_with_branch(x, *parts)
    own = {t.untyped_storage().data_ptr() for p in parts for t in p[:6]}
    own.add(parts[1].scale.untyped_storage().data_ptr())
    return sum(size for key, size in sizes.items() if key not in own)


@pytest.mark.parametrize('of_x', [True, False])
def test_what_is_kept(of_x):
    """x, its statistics, the bottleneck's units, a scaled copy of ``up``;
    the MLP's hidden units only where the gradient goes further down."""
    x, frozen, branch = tensors(True)
    x.requires_grad_(of_x)
    rows = x.numel() // D
    numbers = rows * D + 2 * rows + rows * R + R * D
    numbers += rows * H if of_x else 0
    parts = Frozen(*frozen, 'quick_gelu', 1e-5), Branch(*branch)
    assert kept(x, parts) == 8 * numbers


def test_under_autocast():
    x, frozen, branch = tensors(True, torch.float32)
    x.requires_grad_()
    parts = Frozen(*frozen, 'gelu', 1e-5), Branch(*branch)
    with torch.autocast('cpu', torch.bfloat16):
        out = mlp_with_branch(x, *parts)
        expected = modules(x, frozen, branch, 'gelu', True)
    assert out.dtype == expected.dtype == torch.float32
    assert (out - expected).norm() < 0.01 * expected.norm()
    for ours, theirs in zip(
        torch.autograd.grad(out.sum(), [x, *branch]),
        torch.autograd.grad(expected.sum(), [x, *branch]),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.05 * theirs.norm()
