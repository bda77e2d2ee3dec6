"""How settings follow from counts and memory (pure functions).

Each rule gives its value and the reason, one sentence for the config.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from lift_mm.tuners.settings import pow2_floor

BLOCKS = 12  # of ViT-B/16
BATCH = 128  # of both papers
SMALL_BATCH = 32
# The smallest bottleneck that LIFT runs with: CIFAR-100-LT's.
MIN_HIDDEN = 4
# Steps of LIFT's shortest training, ten epochs of CIFAR-100-LT's 10,847.
MIN_STEPS = 850
MAX_EPOCHS = 50
# A training step of ViT-B/16 with AdaptFormer at 224 pixels keeps 106 MiB an
# image for backward (measured in fp32), and what lives briefly comes on top.
# 128 such images are 16 GiB; 17 GB were reported for the published program.
IMAGE_MIB = 130
# Weights in fp32 and fp16, the libraries of a GPU.
FIXED_MIB = 1536
# One training step: the frozen tower's forward and the backward through it.
STEP_GFLOP = 70
CORE_GFLOPS = 60  # what a core of a current CPU reaches in such a step


class Choice(NamedTuple):
    """A setting and why it is so."""

    value: int | float | str
    reason: str


def tuner_size(classes: int) -> Choice:
    """Choose AdaptFormer's bottleneck width from the number of classes."""
    rule = pow2_floor(classes / (2 * BLOCKS))
    if rule >= MIN_HIDDEN:
        return Choice(
            rule,
            f"LIFT's rule for {classes} classes: all bottlenecks together "
            'about as large as the classifier.',
        )
    return Choice(
        MIN_HIDDEN,
        f"LIFT's rule gives {rule} for {classes} classes, for it matches the "
        'size of the classifier, which is small here whatever the images '
        f'need; {MIN_HIDDEN} is the smallest that LIFT was published with '
        '(CIFAR-100-LT). More is worth a try: the demo has 16.',
    )


def loss(counts: Sequence[int]) -> Choice:
    """Choose the loss from the images of each class."""
    most, least = max(counts), min(counts)
    if most >= 2 * least:
        return Choice(
            'lift_mm.LogitAdjustedLoss',
            f'The largest class has {most / least:.3g} times the images of '
            'the smallest: the logit-adjusted loss counts every class the '
            'same. If rare classes will stay rare in use, and only the '
            'overall accuracy counts, take CrossEntropyLoss.',
        )
    return Choice(
        'CrossEntropyLoss',
        f'The classes have {least} to {most} images, nearly the same: there '
        'is nothing to adjust.',
    )


def batch(images: int) -> Choice:
    """Choose how many images make a step."""
    if images >= MIN_STEPS * BATCH / MAX_EPOCHS:
        return Choice(BATCH, 'As in the papers.')
    return Choice(
        SMALL_BATCH,
        f'With {images} images batches of {BATCH} would make too few steps; '
        'the rate stays.',
    )


def epochs(images: int, classes: int, batch_size: int) -> Choice:
    """Choose the length of the training."""
    if images > 200_000 and classes > 1000:
        return Choice(20, 'As LIFT on iNaturalist 2018.')
    steps = math.ceil(images / batch_size)
    wanted = math.ceil(MIN_STEPS / steps)
    if wanted <= 10:
        return Choice(10, f"LIFT's ten, of {steps} steps each.")
    number = min(wanted, MAX_EPOCHS)
    return Choice(
        number,
        f'{number * steps} steps, {steps} each epoch; LIFT has {MIN_STEPS} '
        'in its shortest training.',
    )


def fitting_batch(total: int, gib: float) -> Choice:
    """Choose how many images of a step fit into memory at once.

    Args:
        total: Images of a step.
        gib: Memory for the training, in GiB.

    Returns:
        A power of two that divides ``total``.
    """
    free = 0.9 * (gib * 1024 - FIXED_MIB)
    room = pow2_floor(max(free, 0) / IMAGE_MIB)
    while total % room:
        room //= 2
    size = min(room, total)
    need = (FIXED_MIB + size * IMAGE_MIB) / 0.9 / 1024
    fits = f'about {need:.1f} GiB of {gib:.3g}'
    if need > gib:
        fits += ', which does not fit'
    if size == total:
        return Choice(size, f'It takes {fits}.')
    return Choice(
        size,
        f'{size} at once take {fits} ({IMAGE_MIB} MiB an image), and '
        f'{total // size} such make a step.',
    )


def cpu_hours(images: int, epochs: int, cores: int) -> float:
    """Estimate the hours of a training without a GPU."""
    return images * epochs * STEP_GFLOP / (CORE_GFLOPS * cores) / 3600


_ID = re.compile(r'(class|cls|label|cat|id|[a-z])?[ _-]*\d+', re.IGNORECASE)


def hints(
    classes: Sequence[str], counts: Sequence[int], side: int, broken: str
) -> list[str]:
    """Say what to look at before training.

    Args:
        classes: Names by label.
        counts: Training images of each class.
        side: Short side of the images, in pixels.
        broken: An image that cannot be read, or nothing.
    """
    found = []
    ids = [name for name in classes if _ID.fullmatch(name)]
    if ids:
        found.append(
            f'{len(ids)} of {len(classes)} class names look like ids '
            f'({", ".join(ids[:3])}): the head starts from what the names '
            'mean, so write words into class_names.txt, one a line in the '
            'order of the labels.'
        )
    lone = [name for name, n in zip(classes, counts, strict=True) if n == 1]
    if lone:
        found.append(
            f'{len(lone)} classes have one training image '
            f'({", ".join(lone[:3])}): they live on their names, and none of '
            'their images can be held out.'
        )
    if side < 112:
        found.append(
            f'The images are small ({side} pixels) and get enlarged to 224: '
            'expect less. Crops of 8 % of an image may then show nothing; '
            'if training stays poor, set crop_ratio_range=(0.5, 1.0) in '
            'train_pipeline.'
        )
    if side > 1000:
        found.append(
            f'The images are large ({side} pixels): most of the time goes '
            'into decoding. Shrink them once to a short side of 320.'
        )
    if broken:
        found.append(
            f'{broken!r} cannot be read: replace it, or set '
            'skip_broken=True in the datasets.'
        )
    return found
