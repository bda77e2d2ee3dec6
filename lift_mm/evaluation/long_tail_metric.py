"""The measures of long-tail recognition as an MMEngine metric."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from lift_mm.registry import METRICS

from .functional import (
    calibration_error,
    geometric_mean,
    harmonic_mean,
    macro_f1,
    per_class_recall,
    shot_groups,
)


@METRICS.register_module()
class LongTailMetric(BaseMetric):
    """Overall, per-class and many/medium/few-shot accuracy, in per cent.

    =================  ====================================================
    ``lt/acc``         share of images recognised
    ``lt/acc_mean``    mean of the per-class recalls
    ``lt/acc_many``    mean recall of classes with > 100 training images
    ``lt/acc_medium``  ... with 20 to 100
    ``lt/acc_few``     ... with < 20
    ``lt/acc_worst``   smallest recall
    ``lt/hmean``       harmonic mean of the recalls, floored at 0.001 %
    ``lt/gmean``       geometric mean of the recalls
    ``lt/f1_macro``    mean F1 score of the classes
    ``lt/ece``         expected calibration error
    =================  ====================================================

    Classes without test images are left out of all means, and a group
    without classes is left out of the result; the log says so once.

    Args:
        class_counts: Training images of each class. By default
            ``ClassInfoHook`` fills them in from the training set or the
            checkpoint. The test set's own counts are never taken.
        group_counts: Counts that part the classes into groups, where these
            are not the training counts: LIFT's program groups every
            CIFAR-100-LT by the counts of imbalance ratio 100.
        thresholds: Smallest and largest count of a medium-shot class.
        num_bins: Bins of the calibration error.
        collect_device: Device for gathering results, ``'cpu'`` or
            ``'gpu'``.
        prefix: Prefix of the keys, ``'lt'`` by default.
        **kwargs: Further keys of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: The training counts are unknown, or options or labels do
            not fit together.
    """

    default_prefix = 'lt'

    def __init__(
        self,
        class_counts: Sequence[int] | None = None,
        group_counts: Sequence[int] | None = None,
        thresholds: Sequence[int] = (20, 100),
        num_bins: int = 10,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(collect_device, prefix, **kwargs)
        if len(thresholds) != 2 or thresholds[0] > thresholds[1]:
            raise ValueError(
                f'thresholds={thresholds} must be the smallest and the '
                'largest number of training images of a medium-shot class '
                '(metric key `thresholds`).'
            )
        if num_bins < 1:
            raise ValueError(
                f'num_bins={num_bins} must be at least 1 (metric key '
                '`num_bins`).'
            )
        self.class_counts = _counts(class_counts, 'class_counts')
        self.group_counts = _counts(group_counts, 'group_counts')
        self.thresholds = tuple(thresholds)
        self.num_bins = num_bins
        self.class_names: tuple[str, ...] | None = None
        self._logged: set[str] = set()

    def set_class_info(
        self,
        class_names: Sequence[str] | None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        """Fill in what the user has not given.

        Args:
            class_names: Name of each class, by label, if known.
            class_counts: Training images of each class, if known.
        """
        if class_names is not None:
            self.class_names = tuple(class_names)
        if self.class_counts is None:
            self.class_counts = _counts(class_counts, 'class_counts')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep label, prediction and confidence of each image.

        Args:
            data_batch: Not used.
            data_samples: Predictions, as ``DataSample`` or dict, with
                ``gt_label`` and ``pred_score`` (probabilities, shape
                ``(C,)``). ``pred_label`` goes before the place of the
                highest score.

        Raises:
            ValueError: The training counts are unknown, or a prediction
                lacks label or score.
        """
        self._groups()  # better now than after the last image
        if not data_samples:
            return
        scores = torch.stack(_column(data_samples, 'pred_score')).float()
        confidences, predictions = scores.max(dim=1)
        if 'pred_label' in data_samples[0]:
            predictions = torch.cat(_firsts(data_samples, 'pred_label'))
        labels = torch.cat(_firsts(data_samples, 'gt_label'))
        # One transfer a batch. Tuples, one for each image, so that the
        # images that a distributed sampler repeats can be cut off.
        columns = [
            column.tolist() for column in (labels, predictions, confidences)
        ]
        self.results.extend(zip(*columns, strict=True))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute all measures.

        Args:
            results: ``(label, prediction, confidence)`` of every image.

        Returns:
            The measures in per cent, keys without prefix.
        """
        groups = self._groups()
        size = sum(map(len, groups.values()))
        if not results:
            raise ValueError(
                'LongTailMetric got no image; check `test_dataloader`.'
            )
        columns = [np.array(column) for column in zip(*results, strict=True)]
        labels, predictions, confidences = columns
        for column in (labels, predictions):
            if column.min() < 0 or column.max() >= size:
                raise ValueError(
                    f'Labels and predictions reach from {column.min()} to '
                    f'{column.max()}, but there are training counts of '
                    f'{size} classes; give one count for each class '
                    '(`test_evaluator.class_counts`).'
                )
        correct = labels == predictions
        recalls = per_class_recall(labels, predictions, size)
        present = recalls[~np.isnan(recalls)]
        if len(present) < size:
            self._log_absent(np.flatnonzero(np.isnan(recalls)))
        metrics = dict(acc=100.0 * correct.mean(), acc_mean=present.mean())
        for name, members in groups.items():
            rates = recalls[members]
            rates = rates[~np.isnan(rates)]
            if len(rates):
                metrics[f'acc_{name}'] = rates.mean()
            else:
                self._log_once(
                    f'No class of the group {name!r} has test images: '
                    f'{self.prefix}/acc_{name} is left out.'
                )
        metrics.update(
            acc_worst=present.min(),
            hmean=harmonic_mean(present),
            gmean=geometric_mean(present),
            f1_macro=macro_f1(labels, predictions, size),
            ece=calibration_error(confidences, correct, self.num_bins),
        )
        return {name: float(value) for name, value in metrics.items()}

    def _groups(self) -> dict[str, np.ndarray]:
        counts, groups = self.class_counts, self.group_counts
        if counts is not None and groups is not None:
            if len(counts) != len(groups):
                raise ValueError(
                    f'There are {len(groups)} group counts for '
                    f'{len(counts)} classes; give one for each class '
                    '(`test_evaluator.group_counts`).'
                )
        if groups is None:
            groups = counts
        if groups is None:
            raise ValueError(
                'LongTailMetric does not know how many training images each '
                'class has; give the list of counts '
                '(`test_evaluator.class_counts`).'
            )
        return shot_groups(groups, self.thresholds)

    def _log_absent(self, absent: np.ndarray) -> None:
        names = self.class_names or {}
        shown = [
            repr(names[c]) if c < len(names) else str(c) for c in absent[:5]
        ]
        more = f' and {len(absent) - 5} more' if len(absent) > 5 else ''
        self._log_once(
            f'Left out of the means, for want of test images: class '
            f'{", ".join(shown)}{more}.'
        )

    def _log_once(self, text: str) -> None:
        if text not in self._logged:
            self._logged.add(text)
            MMLogger.get_current_instance().info(text)


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


def _counts(values: Sequence[int] | None, key: str) -> list[int] | None:
    if values is None:
        return None
    counts = [int(value) for value in values]
    if not counts or min(counts) < 0:
        raise ValueError(
            f'{key} must be a number of at least 0 for each class, not '
            f'{counts[:10]} (`test_evaluator.{key}`).'
        )
    return counts
