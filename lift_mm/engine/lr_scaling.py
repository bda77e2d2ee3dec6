"""Which batch size ``auto_scale_lr`` compares with."""

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper


def of_a_batch(
    auto_scale_lr: dict | None, optim_wrapper: OptimWrapper
) -> dict | None:
    """Let ``auto_scale_lr`` count all images of an optimizer's step.

    mmengine counts those of one batch in each process.

    Args:
        auto_scale_lr: Its ``base_batch_size`` is that of a step.
        optim_wrapper: Knows how many batches make a step.

    Returns:
        dict: The same, or a copy with the ``base_batch_size`` of a batch.
    """
    batches = getattr(optim_wrapper, '_accumulative_counts', 1)
    if batches == 1 or not (auto_scale_lr or {}).get('enable'):
        return auto_scale_lr
    size = auto_scale_lr['base_batch_size']
    base = size / batches
    print_log(
        f'{batches} batches make a step: base_batch_size={size} of a step is '
        f'{base:g} of a batch.',
        logger='current',
    )
    return dict(auto_scale_lr, base_batch_size=base)
