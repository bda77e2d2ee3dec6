"""CLIP's ResNets as a backbone of mmpretrain."""

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, open_clip_name, resnet_config
from lift_mm.registry import MODELS

_POSITIONS = 'attnpool.positional_embedding'
# The stem and the stages halve the image so many times altogether.
_STRIDE = 32


class ResidualBlock(nn.Module):
    """Bottleneck of three convolutions that average where it has a stride.

    Args:
        in_channels: Channels of the input.
        channels: Channels inside, c; the output has 4 c.
        stride: Side of the squares that are averaged.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.conv1 = _conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.stride = stride
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, out_channels, 1),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map features, (B, C, H, W) -> (B, 4 c, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self._shrink(out)))
        if self.downsample is not None:
            x = self.downsample(self._shrink(x))
        return F.relu(out + x)

    def _shrink(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.stride) if self.stride > 1 else x


class AttentionPool(nn.Module):
    """Pool a feature map by attention, with its mean as the query.

    Args:
        grid: Side of the map, h.
        dims: Channels of the map, D.
        heads: Attention heads.
        out_dims: Width of the result, E.
    """

    def __init__(
        self, grid: int, dims: int, heads: int, out_dims: int
    ) -> None:
        super().__init__()
        std = dims**-0.5
        self.positional_embedding = nn.Parameter(
            std * torch.randn(1 + grid * grid, dims)
        )
        self.k_proj = nn.Linear(dims, dims)
        self.q_proj = nn.Linear(dims, dims)
        self.v_proj = nn.Linear(dims, dims)
        self.c_proj = nn.Linear(dims, out_dims)
        for layer in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=std)
        self.grid = grid
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Pool, (B, D, h, h) -> (B, E).

        Raises:
            ValueError: The map has another size than the positions.
        """
        if x.shape[2:] != (self.grid, self.grid):
            raise ValueError(
                f'The images give feature maps of {x.shape[2]} x '
                f'{x.shape[3]} and the net has positions for {self.grid} x '
                f'{self.grid}: it reads images of {_STRIDE * self.grid} '
                'pixels a side (key `backbone.img_size`).'
            )
        x = x.flatten(2).transpose(1, 2)  # (B, h * h, D)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding  # (B, 1 + h * h, D)
        out = F.scaled_dot_product_attention(
            self._split(self.q_proj(x[:, :1])),
            self._split(self.k_proj(x)),
            self._split(self.v_proj(x)),
        )  # (B, heads, 1, D / heads)
        return self.c_proj(out.flatten(1))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


@MODELS.register_module()
class CLIPResNet(BaseBackbone):
    """The image tower of a CLIP with a ResNet, and its weights.

    A ResNet with three convolutions in the stem, averages in front of
    strides, and an attention pool (Radford et al., ICML 2021, section 2.4).
    The feature is what that pool gives, so it is *behind* CLIP's projection:
    1024 wide in RN50. Keys of the state dict are those of a CLIP without
    ``visual.``.

    Args:
        arch: A ResNet of open_clip by name, its model config as a dict, or
            the path of a JSON file with one.
        pretrained: Weight tag of open_clip (``'openai'``), or a local file:
            open_clip ``.pt``/``.safetensors``, an OpenAI TorchScript
            archive, or an mmpretrain checkpoint of this net. None gives
            random weights.
        img_size: Side of the input in pixels, a multiple of 32; positions
            are interpolated where the weights have another one.
        quick_gelu: As in :func:`CLIPViT`. The image tower has no GELU; the
            text tower that starts a head follows it.

    Raises:
        ValueError: No such model, tag or file; not a ResNet; weights of
            another architecture; an impossible image size.
    """

    def __init__(
        self,
        arch: str | dict = 'RN50',
        pretrained: str | None = None,
        img_size: int | None = None,
        quick_gelu: bool | None = None,
    ) -> None:
        super().__init__()
        config = model_config(arch)
        vision = resnet_config(config)
        arch_name = open_clip_name(arch)
        state = None
        if pretrained:
            state = weights.read(weights.locate(arch_name, pretrained))
        weights.decide_quick_gelu(
            config, arch_name, pretrained, state, quick_gelu
        )
        size = vision['image_size'] if img_size is None else img_size
        if not isinstance(size, int) or size < _STRIDE or size % _STRIDE:
            raise ValueError(
                f'img_size={size!r} of CLIPResNet must be a multiple of '
                f'{_STRIDE} (key `backbone.img_size`).'
            )
        self.img_size = (size, size)
        width = vision['width']
        self.conv1 = _conv(3, width // 2, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = _conv(width // 2, width // 2, 3)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = _conv(width // 2, width, 3)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(vision['layers']):
            inner = width * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage and not index else 1
                blocks.append(ResidualBlock(channels, inner, stride))
                channels = 4 * inner
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
        self.attnpool = AttentionPool(
            size // _STRIDE,
            channels,
            channels // vision['head_width'],
            config['embed_dim'],
        )
        if state is not None:
            self._load(state, arch_name or 'this model config', pretrained)
        self.is_init = True  # nothing is left to draw or load

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Give the feature, (B, 3, H, W) -> ((B, E),)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.avg_pool2d(x, 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return (self.attnpool(x),)

    def _load(self, state: weights.State, arch: str, source: str) -> None:
        prefixes = ('visual.', 'backbone.', '')  # a CLIP, a classifier, this
        prefix = next(
            p for p in prefixes if any(k.startswith(p) for k in state)
        )
        tower = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        if _POSITIONS not in tower:
            raise ValueError(
                f'{source!r} holds no ResNet of a CLIP (no key '
                f'visual.{_POSITIONS}); its first key is '
                f'{next(iter(state))} (key `backbone.pretrained`).'
            )
        positions = tower[_POSITIONS].float().unsqueeze(0)  # (1, 1 + h * h, D)
        grid = (self.attnpool.grid,) * 2
        tower[_POSITIONS] = weights.resize_positions(positions, grid)[0]
        own = self.state_dict()
        for key, value in own.items():
            if key.endswith('num_batches_tracked'):  # absent in old files
                tower.setdefault(key, value)
        weights.check_fit(own, tower, arch, source)
        self.load_state_dict(tower)


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1):
    return nn.Conv2d(
        in_channels, out_channels, size, stride, size // 2, bias=False
    )
