"""A model as one function from pixels to logits."""

import torch
from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor, nn

from lift_mm.models.heads import LongTailHead, TextHead


class Exportable(nn.Module):
    """Give logits of images as everybody has them.

    Args:
        model: A classifier in eval mode.
        flip: Whether its net reads blue, green, red.
    """

    def __init__(self, model: nn.Module, flip: bool) -> None:
        super().__init__()
        self.model = model
        self.flip = flip
        preprocessor = model.data_preprocessor
        mean = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1))
        std = getattr(preprocessor, 'std', torch.ones(1, 1, 1))
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())
        # Decided here, for a graph has no place for the checks.
        self.adjusted = isinstance(model.head, LongTailHead)

    def forward(self, images: Tensor) -> Tensor:
        """Classify.

        Args:
            images: Shape (B, 3, H, W), red, green, blue, 0..255 in any type;
                resized and cropped already.

        Returns:
            Logits, (B, C): scaled, and adjusted as the head predicts; their
            softmax are the probabilities.
        """
        x = images.float()
        if self.flip:
            x = x.flip(1)
        x = (x - self.mean) / self.std
        logits = self.model(x, mode='tensor')
        return self.model.head.adjust(logits) if self.adjusted else logits


def exportable(model: nn.Module, reads: str = 'bgr') -> Exportable:
    """Wrap a classifier so that it reads plain RGB images.

    Args:
        model: A classifier with a ``ClsDataPreprocessor``, best a merged one
            (:func:`lift_mm.apis.merge`). It is used as it is, frozen, and
            put into eval mode.
        reads: The order of the channels in what its preprocessor is given:
            ``'bgr'`` where files are loaded, ``'rgb'`` for the arrays of
            CIFAR.

    Returns:
        The wrapped model.

    Raises:
        TypeError: The model has another preprocessor, or no head.
        ValueError: ``reads`` is unknown, or a text tower does not know its
            class names.
    """
    if reads not in ('bgr', 'rgb'):
        raise ValueError(
            f"reads={reads!r} must be 'bgr' or 'rgb' (argument `reads`)."
        )
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not isinstance(preprocessor, ClsDataPreprocessor):
        raise TypeError(
            f'{type(preprocessor).__name__} cannot become a part of an '
            'exported graph; it must be a ClsDataPreprocessor (key '
            '`model.data_preprocessor`).'
        )
    if preprocessor.pad_size_divisor > 1:
        raise ValueError(
            f'pad_size_divisor={preprocessor.pad_size_divisor} pads images, '
            'which an exported graph does not; crop them to their final size '
            'and leave it 1 (key `model.data_preprocessor`).'
        )
    if getattr(model, 'head', None) is None:
        raise TypeError(
            f'{type(model).__name__} has no head and gives no logits to '
            'export (key `model.head`).'
        )
    if isinstance(model.head, TextHead):
        raise ValueError(
            'The class names of a TextHead are unknown, so its rows cannot '
            'be computed: export a checkpoint that lift_mm wrote (key '
            '`model.head`).'
        )
    model.eval()  # returns nothing in some backbones of mmpretrain
    model.requires_grad_(False)
    if hasattr(model, 'compile_options'):
        model.compile_options = False
    flip = (reads == 'bgr') != preprocessor.to_rgb
    wrapped = Exportable(model, flip)
    wrapped.eval()
    return wrapped
