"""Rows from class names, by the text tower of a CLIP."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lift_mm.clip.arch import is_projected, model_config
from lift_mm.clip.templates import (
    DEFAULT,
    Prompts,
    read_descriptors,
    resolve_templates,
)
from lift_mm.clip.text import class_embeddings
from lift_mm.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class SemanticInit:
    """Rows from the class names' text features (LIFT, section 4.2).

    The text tower is used once and dropped. With t a class's text feature
    and P CLIP's image projection, its row is ``normalize(t @ P.T)``: the
    direction in front of the projection that text and image agree on. A
    ResNet's feature is behind its projection, and the row ``normalize(t)``.

    Args:
        template: One prompt.
        templates: Several prompts (their normalised features are averaged),
            or a name of :func:`lift_mm.clip.templates.resolve_templates`;
            goes before ``template``.
        descriptors: JSON file ``{class name: [sentences]}``, which then take
            the templates' place: each class has its own sentences, and its
            name is not added to them (LIFT's ``descriptor`` prompts).
        arch: CLIP architecture; :class:`LongTailClassifier` fills in that
            of the backbone.
        pretrained: Its weights, likewise.
        quick_gelu: As in ``CLIPViT``, likewise.
        project: Whether P is used; None does so unless the features lie in
            the space of text already (ResNets, SigLIP). False is for a head
            behind ``CLIPProjection``.
        cache: Keep text features on disk.

    Raises:
        ValueError: No CLIP weights with a text tower are known, no class
            names, a class without descriptors, or rows of another width
            than the head's.
    """

    def __init__(
        self,
        template: str = DEFAULT,
        templates: str | Sequence[str] | None = None,
        descriptors: str | None = None,
        arch: str | dict | None = None,
        pretrained: str | None = None,
        quick_gelu: bool | None = None,
        project: bool | None = None,
        cache: bool = True,
    ) -> None:
        if not arch or not pretrained:
            raise ValueError(
                'SemanticInit needs a text tower, i.e. the weights of a CLIP: '
                'set `backbone.pretrained` of a lift_mm.CLIPViT or '
                'CLIPResNet, or `arch` and `pretrained` in `head.init`; a '
                'backbone without text starts with `head.init=None`.'
            )
        if descriptors is not None and templates is not None:
            raise ValueError(
                f'SemanticInit has descriptors={descriptors!r} and templates='
                f'{templates!r}, and sentences of classes take no template: '
                'drop one of them (keys `head.init.descriptors` and '
                '`head.init.templates`).'
            )
        self.templates: Prompts = (
            resolve_templates(templates or template)
            if descriptors is None
            else read_descriptors(descriptors)
        )
        self.arch = arch
        self.pretrained = pretrained
        self.quick_gelu = quick_gelu
        self.project = project
        self.cache = cache

    def __call__(
        self, class_names: Sequence[str] | None, weight: Tensor
    ) -> Tensor:
        """Give the rows for these classes.

        Args:
            class_names: C names.
            weight: The head's weight, (C, D), for its width and device.

        Returns:
            (C, D) on that device, rows of unit length.
        """
        if class_names is None:
            raise ValueError(
                'SemanticInit needs class names and has none: keep '
                "dict(type='lift_mm.ClassInfoHook') in `custom_hooks`, which "
                'a `strategy` of mmengine does not wait for, or call '
                '`set_class_info` before `init_weights`.'
            )
        text, proj = class_embeddings(
            class_names,
            self.templates,
            self.arch,
            self.pretrained,
            self.quick_gelu,
            device=weight.device,
            cache=self.cache,
        )
        project = self.project
        if project is None:
            project = not is_projected(model_config(self.arch))
        if project:
            if proj is None:
                raise ValueError(
                    f'The weights {self.pretrained!r} have no projection '
                    'visual.proj, which leads from text features to the '
                    "head's space; use weights of a whole CLIP (key "
                    '`head.init.pretrained`), or `head.init.project=False` '
                    'where features are projected already.'
                )
            text = text @ proj.T
        if text.shape != weight.shape:
            raise ValueError(
                f'SemanticInit gives rows of width {text.shape[1]} and the '
                f'head has in_channels={weight.shape[1]} (keys '
                '`model.head.in_channels` and `head.init.arch`).'
            )
        return F.normalize(text, dim=-1).to(weight)
