"""The measures of long-tail recognition as an MMEngine metric."""

import os
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, MMLogger

from lift_mm.registry import METRICS

from .functional import group_counts, measures, shot_groups
from .inputs import checked_columns, checked_counts, image_rows
from .report import (
    absent_classes,
    class_rows,
    dump_stem,
    some_names,
    worst_table,
    write_report,
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
    without such classes is left out of the result; the log says so once.

    ``default_hooks.checkpoint.save_best`` takes any of these keys. mmengine
    knows that more is better where the key contains ``acc``; the others need
    ``rule='greater'`` beside it, and ``lt/ece`` needs ``rule='less'``.

    Args:
        class_counts: Training images of each class. By default
            ``ClassInfoHook`` fills them in from the training set or the
            checkpoint. The test set's own counts are never taken.
        groups: Counts that part the classes into groups: ``'train'`` takes
            the training counts (LIFT+); ``'ir100'`` those of an exponential
            long tail of imbalance ratio 100 with the same largest class, by
            label, as LIFT's program does for every CIFAR-LT; a list gives
            one count for each class.
        thresholds: Smallest and largest count of a medium-shot class.
        num_bins: Bins of the calibration error.
        table: How many of the worst classes to log, 0 for none.
        table_at_val: Whether to log them after each validation, too, and
            not only after a test.
        dump: Path, with or without ending, of a CSV and a JSON file with
            the result of each class; the JSON file also has the measures
            and settings. A relative path starts at the working directory of
            the process; each evaluation overwrites the files.
        collect_device: Device for gathering results, ``'cpu'`` or
            ``'gpu'``.
        prefix: Prefix of the keys, ``'lt'`` by default.
        **kwargs: Further keys of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        TypeError: ``dump`` is no path.
        ValueError: The training counts are unknown, or options or labels do
            not fit together.
    """

    default_prefix = 'lt'

    def __init__(
        self,
        class_counts: Sequence[int] | None = None,
        groups: str | Sequence[int] = 'train',
        thresholds: Sequence[int] = (20, 100),
        num_bins: int = 10,
        table: int = 10,
        table_at_val: bool = False,
        dump: str | os.PathLike | None = None,
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
        for key, value, least in (
            ('num_bins', num_bins, 1),
            ('table', table, 0),
        ):
            if value < least:
                raise ValueError(
                    f'{key}={value} must be at least {least} (metric key '
                    f'`{key}`).'
                )
        if isinstance(groups, str) and groups not in ('train', 'ir100'):
            raise ValueError(
                f"groups={groups!r} is none of 'train', 'ir100' or a list "
                'with one count for each class (`test_evaluator.groups`).'
            )
        self.class_counts = checked_counts(class_counts, 'class_counts')
        named = isinstance(groups, str)
        self.groups = groups if named else checked_counts(groups, 'groups')
        self.thresholds = tuple(thresholds)
        self.num_bins = num_bins
        self.table = table
        self.table_at_val = table_at_val
        self.dump = None if dump is None else dump_stem(dump)
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

        Raises:
            ValueError: Names and counts are not of the same classes.
        """
        if class_names is not None:
            self.class_names = tuple(class_names)
        if self.class_counts is None:
            self.class_counts = checked_counts(class_counts, 'class_counts')
        if group_counts(self.groups, self.class_counts) is not None:
            self._groups()

    def keys(self, test_counts: Sequence[int] | None = None) -> list[str]:
        """Give the keys of the measures that an evaluation will give.

        Args:
            test_counts: Test images of each class, if known.
        """
        groups = self._groups()
        if test_counts is not None:
            tested = np.flatnonzero(test_counts)
            groups = {n: np.intersect1d(g, tested) for n, g in groups.items()}
        names = ['acc', 'acc_mean']
        names += [f'acc_{name}' for name, g in groups.items() if len(g)]
        names += ['acc_worst', 'hmean', 'gmean', 'f1_macro', 'ece']
        return [f'{self.prefix}/{name}' for name in names]

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
        self.results.extend(image_rows(data_samples))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Compute all measures.

        Args:
            results: ``(label, prediction, confidence)`` of every image.

        Returns:
            The measures in per cent, keys without prefix.
        """
        groups = self._groups()
        labels, predictions, confidences = checked_columns(
            results, sum(map(len, groups.values()))
        )
        metrics = measures(
            labels, predictions, confidences, groups, self.num_bins
        )
        for name, members in groups.items():
            if f'acc_{name}' not in metrics:
                self._log_once(
                    f'{self.prefix}/acc_{name} is absent: of {len(members)} '
                    f'{name}-shot classes none has test images.'
                )
        if 'ece' not in metrics:
            self._log_once(
                f'{self.prefix}/ece is absent: the model gives NaN for '
                f'{np.isnan(confidences).sum()} images.'
            )
        rows = class_rows(
            labels, predictions, groups, self.class_names, self.class_counts
        )
        self._report(rows, metrics)
        return metrics

    def _groups(self) -> dict[str, np.ndarray]:
        counts = group_counts(self.groups, self.class_counts)
        if counts is None:
            raise ValueError(
                'LongTailMetric does not know how many training images each '
                'class has; give the list of counts '
                '(`test_evaluator.class_counts`).'
            )
        for key, known in (
            ('class_counts', self.class_counts),
            ('groups', counts),
        ):
            names = self.class_names or counts
            if known is not None and len(known) != len(names):
                raise ValueError(
                    f'{key} has {len(known)} numbers for {len(names)} '
                    'classes; give one for each class '
                    f'(`test_evaluator.{key}`).'
                )
        return shot_groups(counts, self.thresholds)

    def _report(self, rows: list[dict], metrics: dict[str, float]) -> None:
        """Log and write what is known of each class."""
        absent = absent_classes(rows)
        if absent:
            self._log_once(
                f'{len(absent)} of {len(rows)} classes have no test images '
                f'and are left out of all means: {some_names(absent)}.'
            )
        hub = MessageHub.get_current_instance()
        validation = hub.get_info('loop_stage') == 'val'
        if self.table and (self.table_at_val or not validation):
            table = worst_table(rows, self.table)
            MMLogger.get_current_instance().info(f'\n{table}')
        if self.dump is not None:
            settings = dict(
                groups=self.groups,
                thresholds=self.thresholds,
                num_bins=self.num_bins,
                num_images=sum(row['test_count'] for row in rows),
                num_classes=len(rows),
                num_absent_classes=len(absent),
            )
            overall = {f'{self.prefix}/{k}': v for k, v in metrics.items()}
            write_report(self.dump, rows, overall, settings)

    def _log_once(self, text: str) -> None:
        if text not in self._logged:
            self._logged.add(text)
            MMLogger.get_current_instance().info(text)
