"""Classifier heads."""

from typing import Optional, Sequence, Tuple, Union

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
        loss: Config of the loss.
        **kwargs: For mmpretrain's ``ClsHead`` (``topk``, ``cal_acc``).

    Raises:
        ValueError: A size that is not positive.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        scale: float = 25.0,
        init: Optional[dict] = None,
        loss: Union[dict, torch.nn.Module] = dict(type='CrossEntropyLoss'),
        **kwargs,
    ) -> None:
        super().__init__(loss=loss, **kwargs)
        for key, value in dict(
            num_classes=num_classes, in_channels=in_channels, scale=scale
        ).items():
            if not isinstance(value, (int, float)) or value <= 0:
                raise ValueError(
                    f'{key}={value!r} of CosineHead must be positive (key '
                    f'`model.head.{key}`).'
                )
        self.num_classes = num_classes
        self.scale = scale
        self.class_names: Optional[Sequence[str]] = None
        if isinstance(init, dict):
            init = WEIGHT_INITIALIZERS.build(dict(init, _scope_='lift_mm'))
        self.init = init
        self.fc = NormProduct(in_channels, num_classes)
        with torch.no_grad():
            weight = self.fc.weight.uniform_(-1, 1)
            weight /= weight.norm(dim=1, keepdim=True)

    def set_class_info(
        self, names: Sequence[str], counts: Optional[Sequence[int]] = None
    ) -> None:
        """Take the class names of the dataset.

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

    def init_weights(self) -> None:
        """Start the rows as ``init`` says; the loss etc. as they are."""
        if self.is_init:
            return
        super().init_weights()
        if self.init is not None:
            rows = self.init(self.class_names, self.fc.weight)
            with torch.no_grad():
                self.fc.weight.copy_(rows)

    def forward(self, feats: Tuple[Tensor]) -> Tensor:
        """Give logits, ((B, D),) -> (B, C)."""
        return self.scale * self.fc(self.pre_logits(feats))
