"""What the metric is given, checked and brought into numbers."""

from collections.abc import Sequence

import numpy as np
import torch

Row = tuple[int, int, float]


def image_rows(samples: Sequence) -> list[Row]:
    """Give label, prediction and confidence of each image.

    One tuple an image, so that the images that a distributed sampler
    repeats can be cut off.

    Args:
        samples: Predictions, as ``DataSample`` or dict, with ``gt_label``
            and ``pred_score`` (probabilities, shape ``(C,)``).
            ``pred_label`` goes before the place of the highest score.

    Raises:
        ValueError: A prediction lacks label or score.
    """
    scores = torch.stack(_column(samples, 'pred_score')).float()
    confidences, predictions = scores.max(dim=1)
    if 'pred_label' in samples[0]:
        predictions = torch.cat(_firsts(samples, 'pred_label'))
    labels = torch.cat(_firsts(samples, 'gt_label'))
    # One transfer a batch.
    columns = [
        column.tolist() for column in (labels, predictions, confidences)
    ]
    return list(zip(*columns, strict=True))


def checked_columns(rows: list[Row], size: int) -> list[np.ndarray]:
    """Give labels, predictions and confidences of all images.

    Args:
        rows: From :func:`image_rows`.
        size: Number of classes.

    Raises:
        ValueError: There is no image, or a class is none of ``size``.
    """
    if not rows:
        raise ValueError(
            'LongTailMetric got no image; check `test_dataloader`.'
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    for column in columns[:2]:
        if column.min() < 0 or column.max() >= size:
            raise ValueError(
                f'Labels and predictions reach from {column.min()} to '
                f'{column.max()}, but there are training counts of {size} '
                'classes; give one count for each class '
                '(`test_evaluator.class_counts`).'
            )
    return columns


def checked_counts(values: Sequence[int] | None, key: str) -> list[int] | None:
    """Give counts as plain numbers.

    Args:
        values: A number for each class, or None.
        key: Metric key that they come from.

    Raises:
        ValueError: There are none, or one is below 0.
    """
    if values is None:
        return None
    counts = [int(value) for value in values]
    if not counts or min(counts) < 0:
        raise ValueError(
            f'{key} must be a number of at least 0 for each class, not '
            f'{counts[:10]} (`test_evaluator.{key}`).'
        )
    return counts


def _column(samples: Sequence, key: str) -> list[torch.Tensor]:
    if not all(key in sample for sample in samples):
        raise ValueError(
            f'A prediction has no {key!r}: LongTailMetric needs labelled '
            'images and a head that gives `pred_score` (keys '
            '`test_dataloader.dataset` and `model.head`).'
        )
    return [
        torch.as_tensor(
            sample[key] if isinstance(sample, dict) else sample.get(key)
        )
        for sample in samples
    ]


def _firsts(samples: Sequence, key: str) -> list[torch.Tensor]:
    return [value.reshape(-1)[:1] for value in _column(samples, key)]
