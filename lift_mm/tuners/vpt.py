"""VPT: learned tokens beside the image's (Jia et al., ECCV 2022)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .base import Layers, Tuner, TunerModule
from .blocks import Block
from .settings import check_choice, lift_size

# Attention that knows where a token lies has no place for further ones.
_POSITIONAL = ('relative_position', 'rel_pos', 'rope', 'w_msa', 'relpos')


class Prompt(TunerModule):
    """Learned tokens, added in front of a block.

    Args:
        length: Number of tokens, p.
        dims: Width of a token.
        first: Whether no prompt came before; else those of an earlier block
            (as they came out of it) are replaced.
        causal: Whether tokens see only what stands before them. Prompts then
            stand behind the first token and not at the end, where nobody
            would see them.
    """

    stays = 'its tokens take part in the attention'

    def __init__(
        self, length: int, dims: int, first: bool, causal: bool = False
    ) -> None:
        super().__init__()
        self.tokens = Parameter(torch.empty(length, dims))
        self.first = first
        self.causal = causal

    def insert(self, module: nn.Module, args: tuple) -> tuple | None:
        """Add the tokens, (B, N, D) -> (B, N + p, D) (pre-hook)."""
        if not self.enabled:
            return None
        x = args[0] if self.first else self._cut(args[0])
        # Not len(x), which a traced graph takes for a constant.
        tokens = self.tokens.to(x.dtype).expand(x.shape[0], -1, -1)
        parts = [x[:, :1], tokens, x[:, 1:]] if self.causal else [x, tokens]
        return (torch.cat(parts, dim=1), *args[1:])

    def remove(self, module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        """Take the tokens off again (hook of the net's last block)."""
        return self._cut(out) if self.enabled else out

    def _cut(self, x: Tensor) -> Tensor:
        if self.causal:
            return torch.cat([x[:, :1], x[:, 1 + len(self.tokens) :]], dim=1)
        return x[:, : x.shape[1] - len(self.tokens)]


@TUNERS.register_module()
class VPT(Tuner):
    """Prompt tokens, new ones for every block or for the first only.

    They are appended behind the image's tokens. Positions were added
    before, so their place does not matter. In a causal tower (``CLIPText``)
    they stand behind the start token.

    Args:
        length: Tokens, p. None takes 10 (LIFT), or the largest power of two
            not above C / L (LIFT+).
        deep: New tokens for each chosen block; False only in front of the
            first block of the net.
        layers: See :class:`~.base.Tuner`; only with ``deep``.
        init: ``'lift'`` (uniform, by patch size) or ``'lift+'`` (normal,
            deviation 0.02).
        sizing: ``'lift'`` or ``'lift+'``.

    Raises:
        ValueError: A setting is impossible, or the net's attention depends
            on the places of tokens.
    """

    order = 10  # takes its tokens off when all others are done

    def __init__(
        self,
        length: int | None = None,
        deep: bool = True,
        layers: Layers = None,
        init: str = 'lift',
        sizing: str = 'lift',
    ) -> None:
        super().__init__(layers)
        check_choice(self, 'init', init, ('lift', 'lift+'))
        check_choice(self, 'sizing', sizing, ('lift', 'lift+'))
        if not deep and layers is not None:
            raise ValueError(
                f'layers={layers!r} of VPT needs deep=True: shallow prompts '
                'stand in front of the first block (key `backbone.tuners`).'
            )
        self.length = length
        self.deep = deep
        self.init = init
        self.sizing = sizing

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`~.base.Tuner.attach`."""
        self._refuse_positions(net, blocks)
        if any(isinstance(module, Prompt) for module in net.modules()):
            raise ValueError(
                'VPT is listed twice, and prompts of one replace those of '
                'the other (key `backbone.tuners`).'
            )
        self.chosen = self.select(blocks) if self.deep else [0]
        if self.length is None and self.sizing == 'lift':
            self.length = 10
        self.length = lift_size(self, 'length', num_classes, len(self.chosen))
        self._refuse_maps(net, len(blocks))
        for index in self.chosen:
            block = blocks[index]
            first = index == self.chosen[0]
            causal = getattr(net, 'causal', False)
            prompt = Prompt(self.length, block.dims, first, causal)
            self._draw(prompt.tokens, net, block)
            block.add('vpt', prompt, self)
            block.module.register_forward_pre_hook(prompt.insert)
        blocks[-1].module.register_forward_hook(prompt.remove)

    def _draw(self, tokens: Parameter, net: nn.Module, block: Block) -> None:
        if self.init == 'lift+':
            nn.init.normal_(tokens, std=0.02)
            return
        convs = [
            module
            for name, module in net.named_modules()
            if isinstance(module, nn.Conv2d) and 'patch_embed' in name
        ]
        if not convs:
            raise ValueError(
                f"init='lift' of VPT goes by the patch size, and "
                f"{type(net).__name__} has no patch_embed; use init='lift+' "
                '(key `backbone.tuners`).'
            )
        area = math.prod(convs[0].kernel_size)
        bound = math.sqrt(6 / (3 * area + block.dims))
        nn.init.uniform_(tokens, -bound, bound)

    def _refuse_maps(self, net: nn.Module, number: int) -> None:
        outputs = getattr(net, 'out_indices', ())
        inside = [i for i in outputs if self.chosen[0] <= i < number - 1]
        kind = getattr(net, 'out_type', 'cls_token')
        if inside and kind != 'cls_token':
            raise ValueError(
                f'VPT takes its tokens off behind the last block, and '
                f'out_type={kind!r} of {type(net).__name__} gives all tokens '
                f'behind block {inside[0]}; use the last block only (key '
                '`backbone.backbone.out_indices`).'
            )

    def _refuse_positions(self, net: nn.Module, blocks: list[Block]) -> None:
        names = [name for name, _ in net.named_modules()]
        names += [name for name, _ in net.named_parameters()]
        names += [name for name, _ in net.named_buffers()]
        for name in names:
            if any(word in name.lower() for word in _POSITIONAL):
                raise ValueError(
                    f'VPT does not fit {type(net).__name__}, whose attention '
                    f'goes by the places of tokens ({name}); use another '
                    'tuner (key `backbone.tuners`).'
                )

    def spec(self) -> dict:
        """See :meth:`~.base.Tuner.spec`."""
        return dict(
            type='VPT', length=self.length, deep=self.deep, layers=self.chosen
        )
