"""Whether an exported file computes what the model does."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOLERANCE = 1e-4  # of the largest logit


def random_images(number: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Give images of random colours, (number, 3, H, W) in uint8.

    In large squares: to a net all images of random pixels look alike.

    Args:
        number: How many.
        size: Height and width.
        seed: Of the colours.
    """
    stream = torch.Generator().manual_seed(seed)
    squares = torch.randint(
        256, (number, 3, 4, 4), generator=stream, dtype=torch.uint8
    )
    return F.interpolate(squares, size, mode='nearest')


@torch.no_grad()
def difference(
    model: nn.Module,
    run: Callable[[Tensor], Tensor],
    images: Tensor,
    reads: str,
    dtype: torch.dtype = torch.uint8,
) -> float:
    """Compare logits on the path of a test with those of a file.

    The first image goes through by itself, then the next three at a time.

    Args:
        model: The model with its tuners, in eval mode on the CPU.
        run: The file, from images (B, 3, H, W), RGB, to logits (B, C).
        images: Shape (N, 3, H, W), uint8, as the pipeline gives them.
        reads: The order of their channels, ``'bgr'`` or ``'rgb'``.
        dtype: What the file reads.

    Returns:
        The largest difference, as a share of the largest logit.

    Raises:
        ValueError: It is above 1e-4, or not a number.
    """
    batches = [images[:1], *images[1:].split(3)]
    wanted, found = [], []
    for batch in filter(len, batches):
        inputs = model.data_preprocessor(dict(inputs=batch))['inputs']
        logits = model(inputs, mode='tensor')
        adjust = getattr(model.head, 'adjust', nn.Identity())
        wanted.append(adjust(logits))
        rgb = batch.flip(1) if reads == 'bgr' else batch
        found.append(run(rgb.to(dtype)))
    expected = torch.cat(wanted)
    error = (torch.cat(found) - expected).abs().max()
    share = float(error / expected.abs().max())
    if not share <= _TOLERANCE:
        raise ValueError(
            f'The exported graph does not compute what the model does '
            f'(logits differ by {share:.1e} of the largest), so no file is '
            'left; another `format` may do.'
        )
    return share
