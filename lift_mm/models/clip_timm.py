"""CLIP-like image towers of timm: SigLIP, EVA, PE, ViTamin ..."""

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, open_clip_name, timm_config
from lift_mm.registry import MODELS


@MODELS.register_module()
class CLIPTimm(BaseBackbone):
    """An image tower that open_clip takes from timm, with its weights.

    The feature is the pooled one in front of the tower's projection, as
    with :func:`CLIPViT`; where there is no projection (SigLIP) it lies in
    the space of text already. Keys of the state dict are those of open_clip
    without ``visual.``. Tuners attach where timm's blocks have the sites.

    Args:
        arch: A model of open_clip with a timm tower by name
            (``'ViT-B-16-SigLIP'``, ``'EVA02-B-16'``), its model config as a
            dict, or the path of a JSON file with one.
        pretrained: Weight tag of open_clip, or a local open_clip file. None
            gives random weights.
        img_size: Side of the input in pixels; timm interpolates positions
            where the weights have another one.
        quick_gelu: As in :func:`CLIPViT`; only the text tower follows it.
        timm_kwargs: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: No such model, tag or file; not a timm tower; weights of
            another architecture.
    """

    def __init__(
        self,
        arch: str | dict,
        pretrained: str | None = None,
        img_size: int | None = None,
        quick_gelu: bool | None = None,
        timm_kwargs: dict | None = None,
    ) -> None:
        import timm

        super().__init__()
        config = model_config(arch)
        vision = timm_config(config)
        arch_name = open_clip_name(arch)
        settings = dict(timm_kwargs or {})
        if img_size:
            settings['img_size'] = img_size
        if vision['timm_pool']:
            settings['global_pool'] = vision['timm_pool']
        self.trunk = timm.create_model(
            vision['timm_model_name'], num_classes=0, **settings
        )
        self.embed_dims = self.trunk.num_features
        if pretrained:
            state = weights.read(weights.locate(arch_name, pretrained))
            weights.decide_quick_gelu(
                config, arch_name, pretrained, state, quick_gelu
            )
            self._load(state, arch_name or 'this model config', pretrained)
        self.is_init = True  # timm has drawn or we have loaded the weights

    def _load(self, state: weights.State, arch: str, source: str) -> None:
        trunk = {
            key.removeprefix('visual.trunk.'): value.float()
            for key, value in state.items()
            if key.startswith('visual.trunk.')
            and not key.startswith('visual.trunk.head.')
        }
        if not trunk:
            raise ValueError(
                f'{source!r} holds no image tower of timm (no key '
                f'visual.trunk.*); its first key is {next(iter(state))} '
                '(key `backbone.pretrained`).'
            )
        own = self.trunk.state_dict()
        positions = trunk.get('pos_embed')
        if positions is not None and 'pos_embed' in own:
            if positions.shape != own['pos_embed'].shape:
                from timm.layers import resample_abs_pos_embed

                trunk['pos_embed'] = resample_abs_pos_embed(
                    positions,
                    new_size=self.trunk.patch_embed.grid_size,
                    num_prefix_tokens=self.trunk.num_prefix_tokens,
                )
        weights.check_fit(own, trunk, arch, source)
        self.trunk.load_state_dict(trunk)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Give the pooled feature, (B, 3, H, W) -> ((B, D),)."""
        return (self.trunk(x),)
