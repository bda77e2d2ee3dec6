"""Features of a model without its tuners."""

import contextlib
from collections.abc import Iterator
from itertools import chain

import torch
from mmengine import dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from lift_mm.progress import track
from lift_mm.tuners import FrozenBase, TunerModule, disabled
from lift_mm.tuners.freeze import fingerprint

# Fewer images than this take seconds; more deserve a progress bar.
_SHOW_PROGRESS = 2000


@contextlib.contextmanager
def base_only(model: nn.Module) -> Iterator[None]:
    """Compute what the base computes: no tuners, eval mode, float32."""
    training = model.training
    device = model.data_preprocessor.device.type
    with (
        disabled(model),
        torch.no_grad(),
        torch.autocast(device, enabled=False),
    ):
        model.eval()
        try:
            yield
        finally:
            model.train(training)


def base_digest(model: nn.Module) -> str:
    """Name what the features of the base depend on by a hash.

    Weights and buffers of preprocessor, backbone and neck, and the plain
    settings of their modules (heads, eps, output type ...), because equal
    weights may be put to different use. To be called in :func:`base_only`.
    """
    parts = nn.ModuleList(
        part
        for part in (model.data_preprocessor, model.backbone, model.neck)
        if part is not None
    )
    added = set()
    for module in parts.modules():
        if isinstance(module, (TunerModule, FrozenBase)):
            added.update(id(m) for m in module.modules())
            added.update(id(t) for t in _tensors(module).values())
    tensors = {n: t for n, t in _tensors(parts).items() if id(t) not in added}
    for name, module in parts.named_modules():
        if id(module) not in added:
            settings = {
                key: value
                for key, value in sorted(vars(module).items())
                if isinstance(value, (bool, int, float, str, tuple))
                and not key.startswith('_')
                and key != 'training'
            }
            text = f'{type(module).__name__}{settings}'.encode()
            tensors[f'{name} '] = torch.frombuffer(
                bytearray(text), dtype=torch.uint8
            )
    return fingerprint(tensors)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))


def base_features(
    model: nn.Module,
    images: Dataset,
    batch_size: int,
    num_workers: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the head's input for this rank's share of images.

    To be used in :func:`base_only`.

    Args:
        model: An ``ImageClassifier``.
        images: Gives N images as the preprocessor wants them.
        batch_size: Images a batch.
        num_workers: Processes that load them.

    Yields:
        Places in ``images``, (B,), and features (B, D) in float32, on the
        CPU.

    Raises:
        ValueError: The feature is no vector, or of another width than the
            head's.
    """
    share = torch.arange(len(images))[dist.get_rank() :: dist.get_world_size()]
    width = model.head.fc.in_features
    loader = DataLoader(
        Subset(images, share.tolist()),
        batch_size,
        num_workers=num_workers,
        # The global one would make a run depend on whether this was cached.
        generator=torch.Generator(),
    )
    batches = track(
        loader,
        'Features of training images',
        len(share),
        len,
        show=len(share) > _SHOW_PROGRESS,
    )
    for batch, where in zip(batches, share.split(batch_size)):
        inputs = model.data_preprocessor(dict(inputs=batch), False)['inputs']
        feature = model.extract_feat(inputs, stage='pre_logits')
        if feature.ndim != 2:
            raise ValueError(
                f'The head gets a feature of shape {tuple(feature.shape)}, '
                'and rows start from vectors (B, D): add a neck such as '
                "dict(type='GlobalAveragePooling') (key `model.neck`)."
            )
        if feature.shape[1] != width:
            raise ValueError(
                f'The features have width {feature.shape[1]} and the head has '
                f'in_channels={width} (key `model.head.in_channels`).'
            )
        yield where, feature.float().cpu()
