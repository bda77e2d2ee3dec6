"""Classifier heads."""

from collections.abc import Sequence

import torch
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.heads.margin_head import NormProduct
from torch import Tensor

from lift_mm.registry import MODELS, WEIGHT_INITIALIZERS


@MODELS.register_module()
class CosineHead(ClsHead):
    """``scale * cos(weight, feature)``: LIFT's classifier.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        scale: Fixed factor of the cosine (25 in LIFT).
        init: How the rows start when training begins, e.g.
            ``dict(type='SemanticInit')``; None keeps random unit rows.
        loss: Config of the loss; None is cross entropy.
        post_hoc_tau: Subtract so much times the log prior from logits when
            predicting (Menon et al., 2021, section 4.2). LIFT adjusts in
            the loss and keeps 0; a head trained with plain cross entropy
            takes 1.
        class_counts: Training images of each class for it; filled in by
            ``ClassInfoHook`` from the training set or the checkpoint.
        **kwargs: For mmpretrain's ``ClsHead`` (``topk``, ``cal_acc``).

    Raises:
        ValueError: A size that is not positive.
        TypeError: An ``init`` that is no config.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        scale: float = 25.0,
        init: dict | None = None,
        loss: dict | torch.nn.Module | None = None,
        post_hoc_tau: float = 0.0,
        class_counts: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(loss=loss or dict(type='CrossEntropyLoss'), **kwargs)
        for key, value in dict(
            num_classes=num_classes, in_channels=in_channels, scale=scale
        ).items():
            kind = (int, float) if key == 'scale' else int
            if not isinstance(value, kind) or not value > 0:
                raise ValueError(
                    f'{key}={value!r} of CosineHead must be a positive '
                    f'{"number" if key == "scale" else "int"} (key '
                    f'`model.head.{key}`).'
                )
        self.num_classes = num_classes
        self.scale = scale
        self.post_hoc_tau = post_hoc_tau
        self.class_counts = class_counts
        self.class_names: Sequence[str] | None = None
        if isinstance(init, dict):
            init = WEIGHT_INITIALIZERS.build(dict(init, _scope_='lift_mm'))
        elif init is not None and not callable(init):
            raise TypeError(
                f'init={init!r} of CosineHead must be None or a dict such as '
                "dict(type='SemanticInit') (key `model.head.init`)."
            )
        self.init = init
        self.fc = NormProduct(in_channels, num_classes)
        with torch.no_grad():
            weight = self.fc.weight.uniform_(-1, 1)
            weight /= weight.norm(dim=1, keepdim=True)

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Take names and training counts of the classes.

        Raises:
            ValueError: There are more or fewer names than classes.
        """
        if len(names) != self.num_classes:
            raise ValueError(
                f'The head has num_classes={self.num_classes} (key '
                f'`model.head.num_classes`) and the dataset {len(names)} '
                'class names (dataset key `classes`); they must agree.'
            )
        self.class_names = tuple(names)
        if self.class_counts is None:
            self.class_counts = counts

    def init_weights(self) -> None:
        """Start the rows as ``init`` says; the loss etc. as they are."""
        if self.is_init:
            return
        super().init_weights()
        if self.init is not None:
            rows = self.init(self.class_names, self.fc.weight)
            with torch.no_grad():
                self.fc.weight.copy_(rows)

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Give logits, ((B, D),) -> (B, C)."""
        return self.scale * self.fc(self.pre_logits(feats))

    def _get_predictions(self, cls_score: Tensor, data_samples):
        """Turn logits into predictions, adjusted by ``post_hoc_tau``."""
        if self.post_hoc_tau:
            counts = self.class_counts
            fit = counts is not None and len(counts) == self.num_classes
            if not fit or min(counts) <= 0:
                raise ValueError(
                    f'post_hoc_tau={self.post_hoc_tau} needs a positive '
                    f'number of training images for each of the '
                    f'{self.num_classes} classes and has {counts}: give '
                    '`model.head.class_counts`, or test a checkpoint that '
                    'lift_mm wrote.'
                )
            prior = cls_score.new_tensor(counts, dtype=torch.float64)
            prior = (prior / prior.sum()).log().to(cls_score)
            cls_score = cls_score - self.post_hoc_tau * prior
        return super()._get_predictions(cls_score, data_samples)
