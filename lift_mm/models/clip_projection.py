"""CLIP's projection from image features to the space shared with text."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from lift_mm.clip import weights
from lift_mm.clip.arch import (
    is_resnet,
    model_config,
    open_clip_name,
    vision_config,
)
from lift_mm.registry import MODELS
from lift_mm.tuners import freeze


@MODELS.register_module()
class CLIPProjection(BaseModule):
    """Neck into the space of texts: features @ ``visual.proj``.

    LIFT itself drops the projection; with it and text features as rows of a
    cosine head, the model is CLIP's own zero-shot classifier, and in front
    of a :class:`TextHead` one that learns with text.

    Args:
        arch: As in :func:`CLIPViT`.
        pretrained: As in :func:`CLIPViT`; None gives random weights.
        tuned: Whether the projection learns (LIFT+'s projection tuning).
        adapter: Config of what works on the projected feature, e.g.
            ``dict(type='lift_mm.CLIPAdapter')``.

    Raises:
        ValueError: A ResNet, which has no projection; weights without one,
            or with one of another shape.
    """

    def __init__(
        self,
        arch: str | dict = 'ViT-B-16',
        pretrained: str | None = None,
        tuned: bool = False,
        adapter: dict | None = None,
    ) -> None:
        super().__init__()
        config = model_config(arch)
        if is_resnet(config):
            raise ValueError(
                'CLIPProjection has nothing to project behind a ResNet, '
                'whose feature is in the space of texts already; drop the '
                'key `model.neck`.'
            )
        shape = (vision_config(config)['width'], config['embed_dim'])
        self.weight = nn.Parameter(torch.randn(shape) * shape[0] ** -0.5)
        arch_name = open_clip_name(arch)
        if pretrained:
            state = weights.read(weights.locate(arch_name, pretrained))
            proj = state.get('visual.proj')
            found = {} if proj is None else {'weight': proj.float()}
            arch_name = arch_name or 'this model config'
            weights.check_fit(self.state_dict(), found, arch_name, pretrained)
            self.load_state_dict(found)
        guard = freeze(self, 'CLIPProjection')
        if tuned:
            guard.unlock([self.weight])
            guard.tuners.append(dict(type='CLIPProjection'))
        if adapter is not None:
            adapter = MODELS.build(
                dict(adapter, _scope_='lift_mm'),
                default_args=dict(in_channels=shape[1]),
            )
        self.adapter = adapter

    def forward(self, feats: tuple[Tensor]) -> tuple[Tensor]:
        """Project the last feature, (B, D) -> (B, E)."""
        feats = (feats[-1] @ self.weight,)
        return feats if self.adapter is None else self.adapter(feats)
