"""LIFT's training step as one writes it down, to compare ours with.

CLIP's ViT, AdaptFormer and the cosine head with nothing fused and nothing
shared: attention on 3-D inputs, QuickGELU by autograd, the branch a module
of its own with its own norm.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Where our modules lie within a block, by the names below.
_OURS = dict(
    ln1='ln1',
    qkv='attn.qkv',
    proj='attn.proj',
    ln2='ln2',
    fc1='ffn.layers.0.0',
    fc2='ffn.layers.1',
    branch='adaptformer',
)


class AdaptFormer(nn.Module):
    """``scale * up(relu(down(norm(x))))``."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(torch.relu(self.down(self.norm(x))))


class Block(nn.Module):
    """A pre-norm block with an AdaptFormer beside its MLP."""

    def __init__(self, width: int, heads: int, bottleneck: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.branch = AdaptFormer(width, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.proj(self.attention(self.qkv(self.ln1(x))))
        hidden = self.fc1(self.ln2(x))
        out = self.fc2(hidden * torch.sigmoid(1.702 * hidden))
        return x + out + self.branch(x)

    def attention(self, qkv: Tensor) -> Tensor:
        batch, tokens, width = qkv.shape
        qkv = qkv.reshape(batch, tokens, 3, self.heads, -1)
        # (3, B * heads, N, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)
        out = F.scaled_dot_product_attention(q, k, v)
        out = out.reshape(batch, self.heads, tokens, -1)
        return out.transpose(1, 2).reshape(batch, tokens, width // 3)


class StraightforwardViT(nn.Module):
    """Logits of images, (B, 3, H, W) -> (B, C); the tower is frozen.

    Args:
        width: Of the tokens, D.
        layers: Number of blocks.
        heads: Of the attention.
        patch: Side of a patch in pixels.
        image: Side of an image in pixels.
        bottleneck: Width of the AdaptFormers.
        num_classes: C.
    """

    def __init__(
        self,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        patch: int = 16,
        image: int = 224,
        bottleneck: int = 32,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        tokens = (image // patch) ** 2 + 1
        self.patches = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        self.pre_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, bottleneck) for _ in range(layers)
        )
        self.post_norm = nn.LayerNorm(width)
        self.head = nn.Parameter(torch.empty(num_classes, width).normal_())
        self.requires_grad_(False)
        self.head.requires_grad_()
        for block in self.blocks:
            block.branch.requires_grad_()

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.pre_norm(x + self.positions)
        for block in self.blocks:
            x = block(x)
        feature = F.normalize(self.post_norm(x)[:, 0])
        return 25 * F.linear(feature, F.normalize(self.head))

    @torch.no_grad()
    def load_from(self, model: nn.Module) -> None:
        """Take the weights of a ``LongTailClassifier`` with a ``CLIPViT``."""
        ours = model.backbone
        self.patches.weight.copy_(ours.patch_embed.projection.weight)
        self.token.copy_(ours.cls_token)
        self.positions.copy_(ours.pos_embed)
        self.pre_norm.load_state_dict(ours.pre_norm.state_dict())
        for block, layer in zip(self.blocks, ours.layers, strict=True):
            for name, place in _OURS.items():
                state = layer.get_submodule(place).state_dict()
                block.get_submodule(name).load_state_dict(state)
        self.post_norm.load_state_dict(ours.ln1.state_dict())
        self.head.copy_(model.head.fc.weight)


class Product(NamedTuple):
    """``times`` products of ``batch`` matrices, (m, k) and (k, n)."""

    times: int
    batch: int
    m: int
    k: int
    n: int

    @property
    def flop(self) -> int:
        return 2 * self.times * self.batch * self.m * self.k * self.n


def products(
    images: int,
    width: int,
    layers: int,
    heads: int,
    patch: int,
    image: int,
    bottleneck: int,
    num_classes: int,
) -> Iterator[Product]:
    """List the matrix products of a step; sizes as above.

    Frozen layers have a forward product and one towards their input, learned
    ones a third for their weight. Nothing below the first branch learns, so
    the first block's frozen layers have the forward product alone.
    """
    patches = (image // patch) ** 2
    tokens = patches + 1
    rows, size = images * tokens, width // heads
    yield Product(1, 1, images * patches, 3 * patch**2, width)
    for out, into in ((3, 1), (1, 1), (4, 1), (1, 4)):  # qkv proj fc1 fc2
        out, into = out * width, into * width
        yield Product(layers, 1, rows, into, out)
        yield Product(layers - 1, 1, rows, out, into)
    # Both inputs of attention's two products want a gradient.
    yield Product(2 * layers - 1, images * heads, tokens, size, tokens)
    yield Product(4 * layers - 3, images * heads, tokens, tokens, size)
    for out, into, times, height in (
        (bottleneck, width, layers, rows),  # down
        (width, bottleneck, layers, rows),  # up
        (num_classes, width, 1, images),  # head
    ):
        yield Product(times, 1, height, into, out)
        yield Product(times, 1, height, out, into)
        yield Product(times, 1, out, height, into)
