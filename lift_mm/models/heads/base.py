"""What every head of this package knows and checks."""

import contextlib
from collections.abc import Sequence

import torch
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from lift_mm.registry import WEIGHT_INITIALIZERS

_LARGEST = 10_000_000  # classes and widths; more is a slip


class LongTailHead(ClsHead):
    """One layer ``fc`` on the last feature, whose rows start as one says.

    A head gives ``build_fc`` and, where the layer alone is not all,
    ``score``. Logits are never computed in half precision.

    Args:
        num_classes: Number of classes, C.
        in_channels: Width of the feature, D.
        init: How the rows start when training begins, e.g.
            ``dict(type='SemanticInit')``; None keeps random rows.
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

    # What a loss with margins multiplies them by: logits grow with it.
    scale: float = 1.0

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        init: dict | None = None,
        loss: dict | nn.Module | None = None,
        post_hoc_tau: float = 0.0,
        class_counts: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(loss=loss or dict(type='CrossEntropyLoss'), **kwargs)
        self._check_positive('num_classes', num_classes, int)
        self._check_positive('in_channels', in_channels, int)
        self.num_classes = num_classes
        self.post_hoc_tau = post_hoc_tau
        self.class_counts = class_counts
        self.class_names: Sequence[str] | None = None
        if isinstance(init, dict):
            init = WEIGHT_INITIALIZERS.build(dict(init, _scope_='lift_mm'))
        elif init is not None and not callable(init):
            raise TypeError(
                f'init={init!r} of {type(self).__name__} must be None or a '
                "dict such as dict(type='SemanticInit') (key "
                '`model.head.init`).'
            )
        self.init = init
        self.fc = self.build_fc(in_channels, num_classes)
        if getattr(self.loss_module, 'scale', 0) is None:
            self.loss_module.scale = self.scale

    def build_fc(self, in_channels: int, num_classes: int) -> nn.Linear:
        """Give the layer with its random start.

        Args:
            in_channels: Width of the feature, D.
            num_classes: C.
        """
        raise NotImplementedError

    def _check_positive(self, key: str, value, *kinds: type) -> None:
        number = isinstance(value, kinds) and not isinstance(value, bool)
        if not number or not 0 < value <= _LARGEST:
            raise ValueError(
                f'{key}={value!r} of {type(self).__name__} must be a positive '
                f'{"number" if float in kinds else "int"} of at most '
                f'{_LARGEST:,} (key `model.head.{key}`).'
            )

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Take names and training counts of the classes.

        Args:
            names: Names of the C classes, by label.
            counts: Training images of each, (C,), if known.

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
                if self.fc.bias is not None:
                    self.fc.bias.zero_()

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Give logits, ((B, D),) -> (B, C)."""
        feature = self.pre_logits(feats)
        # Outside autocast: the best two of many classes often have the same
        # score in bfloat16, and the one that comes first would win.
        with _without_autocast(feature.device.type):
            return self.score(feature.to(self.fc.weight.dtype))

    def score(self, feature: Tensor) -> Tensor:
        """Give the logits of a feature, (B, D) -> (B, C).

        Args:
            feature: In the precision of the layer's weight.
        """
        return self.fc(feature)

    def adjust(self, cls_score: Tensor) -> Tensor:
        """Subtract ``post_hoc_tau`` times the log prior, (B, C) -> (B, C).

        Args:
            cls_score: Logits.

        Returns:
            Adjusted logits.

        Raises:
            ValueError: The classes' training images are unknown.
        """
        if not self.post_hoc_tau:
            return cls_score
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
        return cls_score - self.post_hoc_tau * prior

    def _get_predictions(self, cls_score: Tensor, data_samples):
        """Turn logits into predictions, adjusted by ``post_hoc_tau``."""
        return super()._get_predictions(self.adjust(cls_score), data_samples)


def _without_autocast(device: str):
    if not torch.amp.is_autocast_available(device):  # such as 'meta'
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)


def draw_unit_rows(weight: Tensor) -> None:
    """Fill a weight (C, D) with random rows of unit length (LIFT's start)."""
    with torch.no_grad():
        weight.uniform_(-1, 1)
        weight /= weight.norm(dim=1, keepdim=True)
