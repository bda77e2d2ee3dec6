"""CLIP's text tower, with blocks like those of mmpretrain's ViT."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from torch import Tensor, nn
from torch.nn import Parameter

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, open_clip_name
from lift_mm.clip.text_weights import (
    expand_token_rows,
    text_config,
    to_text,
)
from lift_mm.registry import MODELS


class TextTransformer(BaseModule):
    """Causal transformer whose feature is that of the end token.

    Blocks have the names and the arithmetic of those in mmpretrain's
    ``VisionTransformer``, so tuners adapt them alike. The weights of a
    text tower are complete with CLIP's projection and temperature.

    Args:
        text: Settings, see :func:`lift_mm.clip.text_weights.text_config`.
        embed_dim: Width of the feature, E.
        quick_gelu: Whether the MLPs have QuickGELU.

    Attributes:
        causal: Tokens see what stands before them, so that a prompt must
            stand in front.
        known_tokens: Ids with an embedding; None where all have one.
        source: Name of the weights.
    """

    causal = True

    def __init__(self, text: dict, embed_dim: int, quick_gelu: bool) -> None:
        super().__init__()
        width = text['width']
        self.context_length = text['context_length']
        self.embed_dim = embed_dim
        self.known_tokens: set[int] | None = None
        self.source = 'random'
        self.token_embedding = nn.Embedding(text['vocab_size'], width)
        self.positional_embedding = Parameter(
            torch.empty(self.context_length, width)
        )
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(
                embed_dims=width,
                num_heads=text['heads'],
                feedforward_channels=int(width * text['mlp_ratio']),
                layer_scale_init_value=text['ls_init_value'] or 0.0,
                act_cfg=dict(
                    type='mmpretrain.QuickGELU' if quick_gelu else 'GELU'
                ),
                norm_cfg=dict(type='LN', eps=1e-5),
            )
            for _ in range(text['layers'])
        )
        for layer in self.layers:
            layer.attn.scaled_dot_product_attention = partial(
                F.scaled_dot_product_attention, is_causal=True
            )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = Parameter(torch.empty(width, embed_dim))
        self.logit_scale = Parameter(torch.tensor(math.log(1 / 0.07)))

    def init_weights(self) -> None:
        """Draw weights as CLIP's authors did (their code, version 1)."""
        if self.is_init:
            return
        width = self.ln_final.normalized_shape[0]
        deviation = width**-0.5
        deep = deviation * (2 * len(self.layers)) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=deviation)
        for layer in self.layers:
            fc1, fc2 = layer.ffn.layers[0][0], layer.ffn.layers[1]
            for linear, std in (
                (layer.attn.qkv, deviation),
                (layer.attn.proj, deep),
                (fc1, (2 * width) ** -0.5),
                (fc2, deep),
            ):
                nn.init.normal_(linear.weight, std=std)
                nn.init.zeros_(linear.bias)
        self.is_init = True

    def forward(
        self, tokens: Tensor, embeddings: Tensor | None = None
    ) -> tuple[Tensor]:
        """Give text features, (N, L) -> ((N, E),).

        Args:
            tokens: Ids; the highest one is the end token. What stands behind
                it changes nothing, so L need not be the context length.
            embeddings: Instead of those of the tokens, (N, L, width), where
                some of them are learned.
        """
        if embeddings is None:
            embeddings = self.token_embedding(tokens)
        x = embeddings + self.positional_embedding[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        ends = tokens.argmax(dim=-1)
        x = self.ln_final(x[torch.arange(len(x), device=x.device), ends])
        return (x @ self.text_projection,)


@MODELS.register_module()
def CLIPText(
    arch: str | dict = 'ViT-B-16',
    pretrained: str | None = None,
    quick_gelu: bool | None = None,
) -> TextTransformer:
    """Build the text tower of a CLIP with its weights.

    A function as :func:`CLIPViT` is, and for the same reasons. Inside a
    ``lift_mm.TunedBackbone`` the tower is frozen and tuned as an image tower
    is; sizes of its tuners have to be given (LIFT+ takes bottlenecks of 4
    and prompts of length 2).

    Args:
        arch: As in :func:`CLIPViT`.
        pretrained: Weight tag of open_clip or a local file with a whole
            CLIP. None gives random weights.
        quick_gelu: As in :func:`CLIPViT`.

    Raises:
        ValueError: No such model, tag or file; weights without a text tower
            or of another architecture; a text tower of another kind than
            CLIP's own (SigLIP, CoCa, towers of transformers).
    """
    config = model_config(arch)
    text = text_config(config)
    arch_name = open_clip_name(arch)
    state = None
    if pretrained:
        state = weights.read(weights.locate(arch_name, pretrained))
    quick = weights.decide_quick_gelu(
        config, arch_name, pretrained, state, quick_gelu
    )
    net = TextTransformer(text, config['embed_dim'], quick)
    if state is None:
        net.init_weights()
        return net
    found = to_text(state)
    if not found:
        raise ValueError(
            f'The weights {pretrained!r} have no text tower; use weights of '
            'a whole CLIP (key `model.head.text.pretrained`).'
        )
    net.known_tokens = expand_token_rows(found, net.state_dict())
    arch_name = arch_name or 'this model config'
    weights.check_fit(net.state_dict(), found, arch_name, pretrained)
    net.load_state_dict(found)
    net.source = pretrained
    net.is_init = True
    return net
