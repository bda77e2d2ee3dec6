"""The head whose rows are text features, computed while training."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor, nn

from lift_mm.clip.templates import DEFAULT, resolve_templates
from lift_mm.registry import MODELS

from ..text_rows import TextRows
from ..tuned_backbone import TunedBackbone
from .base import LongTailHead
from .cosine import CosineHead

_TUNABLE = ('text_projection', 'logit_scale')
# Of tuners in the text tower, which LIFT+ does not fit to the classes.
_TEXT_TUNERS = dict(
    AdaptFormer=dict(hidden_dims=4),
    Adapter=dict(hidden_dims=4),
    LoRA=dict(rank=4),
    VPT=dict(length=2, init='lift+'),  # 'lift' goes by the image's patches
)


@MODELS.register_module()
class TextHead(LongTailHead):
    """``exp(logit_scale) * cos(image, text)``: CLIP's own classifier.

    Rows are the text tower's features of the class names. Where something of
    them learns, they are computed in every training step, and gradients go
    through the tower; otherwise they are kept until something changes. The
    feature has to be in the space of texts: put a :class:`CLIPProjection`
    in front (key ``model.neck``).

    Args:
        num_classes: Number of classes, C.
        text: Config of the text tower, a ``lift_mm.CLIPText`` or a
            ``lift_mm.TunedBackbone`` of one; :class:`LongTailClassifier`
            fills in the CLIP of the image backbone. Tuners without a size
            get LIFT+'s, whatever the classes: 2 prompts, bottlenecks of 4.
        template: One prompt.
        templates: Several prompts (their normalised features are averaged),
            or a name of :func:`lift_mm.clip.templates.resolve_templates`;
            goes before ``template``.
        prompt: Config of a prompt with learned words, e.g.
            ``dict(type='CoOp')``, which takes the templates' place.
        adapter: Config of what works on text features, e.g.
            ``dict(type='CLIPAdapter')``.
        tune: Which of ``'text_projection'`` and ``'logit_scale'`` learn,
            besides what the tuners of ``text`` do.
        chunk_size: Prompts that go through the text tower at a time, with
            activations recomputed when going backward: memory is that of
            one chunk, for another forward pass of the tower. None takes all
            at once and keeps activations.
        loss: See :class:`LongTailHead`; margins grow with
            ``exp(logit_scale)``.
        **kwargs: See :class:`LongTailHead`; ``init`` has no use here.

    Raises:
        ValueError: A setting is impossible.
    """

    def __init__(
        self,
        num_classes: int,
        text: dict | nn.Module | None = None,
        template: str = DEFAULT,
        templates: str | Sequence[str] | None = None,
        prompt: dict | None = None,
        adapter: dict | None = None,
        tune: str | Sequence[str] = (),
        chunk_size: int | None = None,
        loss: dict | nn.Module | None = None,
        **kwargs,
    ) -> None:
        if chunk_size is not None:
            self._check_positive('chunk_size', chunk_size, int)
        if kwargs.get('init') is not None:
            raise ValueError(
                f'init={kwargs["init"]!r} starts rows, and those of TextHead '
                'are text features; drop the key `model.head.init`.'
            )
        if prompt is not None and templates is not None:
            raise ValueError(
                f'TextHead has prompt={prompt!r} and templates={templates!r};'
                ' drop one of them (keys `model.head.prompt` and '
                '`model.head.templates`).'
            )
        text = _text_tower(text, tune)
        self.scale = float(text.logit_scale.detach().exp())  # for the loss
        if isinstance(loss, dict):
            loss = MMPRETRAIN_MODELS.build(loss)
        follows = getattr(loss, 'scale', 0) is None
        super().__init__(num_classes, text.embed_dim, loss=loss, **kwargs)
        self.margin_follows = follows
        self.rows = TextRows(
            text,
            _templates(templates or template),
            _build(prompt, text=text),
            _build(adapter, in_channels=text.embed_dim),
            chunk_size,
        )

    def build_fc(self, in_channels: int, num_classes: int) -> None:
        """There are no rows to learn."""

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Take names and training counts of the classes.

        Raises:
            ValueError: There are more or fewer names than classes, or one
                that the text tower cannot read.
        """
        super().set_class_info(names, counts)
        self.rows.set_names(names)

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Give logits, ((B, E),) -> (B, C).

        Raises:
            ValueError: The class names are unknown, or the feature is not
                in the space of texts.
        """
        feature, text = self.pre_logits(feats), self.rows.text
        if feature.shape[-1] != text.embed_dim:
            raise ValueError(
                f'The feature has width {feature.shape[-1]} and texts '
                f'{text.embed_dim}; TextHead needs the projection in '
                "front of it: neck=dict(type='lift_mm.CLIPProjection') (key "
                '`model.neck`).'
            )
        scale = text.logit_scale.exp()
        feature, rows = feature.to(scale), self.rows().to(scale)
        # Not in half precision, as in the other heads.
        with torch.autocast(feature.device.type, enabled=False):
            return scale * F.linear(F.normalize(feature, dim=-1), rows)

    def _get_loss(self, cls_score: Tensor, data_samples, **kwargs) -> dict:
        if self.margin_follows:
            self.loss_module.scale = self.rows.text.logit_scale.detach().exp()
        return super()._get_loss(cls_score, data_samples, **kwargs)

    def to_cosine(self) -> CosineHead:
        """Give a head with the present rows, which needs no text tower.

        Raises:
            ValueError: The class names are unknown.
        """
        text = self.rows.text
        head = CosineHead(
            self.num_classes,
            text.embed_dim,
            scale=float(text.logit_scale.detach().exp()),
            loss=self.loss_module,
            post_hoc_tau=self.post_hoc_tau,
            class_counts=self.class_counts,
            topk=self.topk,
            cal_acc=self.cal_acc,
        )
        head.class_names = self.class_names
        with torch.no_grad():
            head.fc.weight.copy_(self.rows())
        head.is_init = True
        return head.to(text.logit_scale.device)


def _build(config: dict | None, **filled) -> nn.Module | None:
    if config is None:
        return None
    return MODELS.build(dict(config, _scope_='lift_mm'), default_args=filled)


def _text_tower(
    text: dict | nn.Module | None, tune: str | Sequence[str]
) -> nn.Module:
    """Build the frozen text tower, and let parts of it learn."""
    if text is None:
        raise ValueError(
            'TextHead needs the text tower of a CLIP: use a CLIP as '
            '`model.backbone` of a lift_mm.LongTailClassifier, or give dict('
            "type='lift_mm.CLIPText', arch=..., pretrained=...) (key "
            '`model.head.text`).'
        )
    if isinstance(text, dict):
        if text.get('tuners'):
            text = dict(text, tuners=[_sized(t) for t in text['tuners']])
        text = MMPRETRAIN_MODELS.build(text)
    net = text if hasattr(text, 'frozen_base') else TunedBackbone(text)
    if not hasattr(net, 'text_projection'):
        raise ValueError(
            f'{type(net).__name__} is no text tower; it must be a '
            'lift_mm.CLIPText (key `model.head.text`).'
        )
    tune = [tune] if isinstance(tune, str) else list(tune)
    wrong = [name for name in tune if name not in _TUNABLE]
    if wrong:
        raise ValueError(
            f'tune={wrong[0]!r} of TextHead must be one of '
            f'{", ".join(map(repr, _TUNABLE))} (key `model.head.tune`).'
        )
    if tune:
        net.frozen_base.unlock(getattr(net, name) for name in tune)
        net.frozen_base.tuners.append(dict(type='TextHead', tune=sorted(tune)))
    return net


def _sized(tuner: dict) -> dict:
    name = str(tuner.get('type')).rpartition('.')[2]
    return {**_TEXT_TUNERS.get(name, {}), **tuner}


def _templates(given: str | Sequence[str]) -> list[str]:
    try:
        return resolve_templates(given)
    except ValueError as error:
        raise ValueError(
            str(error).replace('`head.init.', '`model.head.')
        ) from None
