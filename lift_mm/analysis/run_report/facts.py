"""What a test of a run tells."""

import base64
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn

from lift_mm.analysis.ready import View, ready_run, seen_as_test, view
from lift_mm.clip.names import printable
from lift_mm.evaluation import (
    LongTailMetric,
    group_counts,
    measures,
    shot_groups,
)
from lift_mm.evaluation.report import class_rows
from lift_mm.models.inits.train_images import TrainImages
from lift_mm.reproduce.record import environment
from lift_mm.tuners import learned_parameters

from .files import read_curves, run_files

WORST = 8  # classes that are shown with pictures
_PICTURES = 6  # of each
_SIDE = 112  # pixels of a picture


@dataclass
class Facts:
    """A tested run.

    Attributes:
        name: How it is called.
        checkpoint: File that was tested; '' for a model as it starts.
        metrics: Measures in per cent, see :func:`measures`.
        rows: Result of each class, see :func:`class_rows`.
        calibration: Confidence, accuracy and images of each bin.
        worst: Name, row and wrongly named pictures of the worst classes.
        learned: Name, shape, number and size of what was learned.
        base_parameters: Parameters that stayed as they were.
        curves: Logged values, a dict for each logged step.
        config: The config as text.
        environment: Versions and machine.
    """

    name: str
    checkpoint: str
    metrics: dict[str, float]
    rows: list[dict]
    calibration: list[dict]
    worst: list[dict]
    learned: list[dict]
    base_parameters: int
    curves: list[dict]
    config: str
    environment: dict


def learned_table(model: nn.Module) -> list[dict]:
    """Sum up learned tensors, those of all blocks in one line."""
    found: dict[tuple, int] = {}
    for name, value in learned_parameters(model).items():
        key = re.sub(r'\.\d+(?=\.)', '.*', name), tuple(value.shape)
        found[key] = found.get(key, 0) + 1
    return [
        dict(
            name=name,
            shape=' × '.join(map(str, shape)) or '1',
            tensors=number,
            parameters=number * int(np.prod(shape)),
        )
        for (name, shape), number in found.items()
    ]


def calibration_bins(
    confidences: np.ndarray, correct: np.ndarray, num_bins: int = 10
) -> list[dict]:
    """Give confidence and accuracy of each bin that has images.

    Args:
        confidences: Probability of the predicted class, (N,).
        correct: Whether it is right, (N,).
        num_bins: Equal bins, as in :func:`calibration_error`.
    """
    bins = np.searchsorted(np.arange(1, num_bins) / num_bins, confidences)
    return [
        dict(
            confidence=float(100 * confidences[bins == b].mean()),
            accuracy=float(100 * correct[bins == b].mean()),
            images=int((bins == b).sum()),
        )
        for b in np.unique(bins)
    ]


def worst_classes(
    rows: Sequence[dict], seen: View, images: TrainImages, flip: bool
) -> list[dict]:
    """Show what images of the worst classes are taken for.

    Args:
        rows: From :func:`class_rows`.
        seen: What the model makes of the test images.
        images: These images.
        flip: Whether their channels are blue, green, red.
    """
    tested = [row for row in rows if row['test_count']]
    worst = sorted(tested, key=lambda row: (row['accuracy'], row['label']))
    predicted = seen.logits.argmax(1)
    shown = []
    for row in worst[:WORST]:
        wrong = (seen.labels == row['label']) & (predicted != row['label'])
        places = wrong.nonzero()[:_PICTURES, 0].tolist()
        pictures = [
            dict(
                data=thumbnail(images[place], flip),
                taken_for=rows[int(predicted[place])]['class_name'],
            )
            for place in places
        ]
        shown.append(dict(row, pictures=pictures))
    return shown


def thumbnail(image: Tensor, flip: bool) -> str:
    """Give a small picture as a data URI.

    Args:
        image: uint8, (3, H, W).
        flip: Whether the channels are blue, green, red.
    """
    image = image.flip(0) if flip else image
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture.thumbnail((_SIDE, _SIDE))
    data = io.BytesIO()
    picture.save(data, format='JPEG', quality=85)
    text = base64.b64encode(data.getvalue()).decode()
    return f'data:image/jpeg;base64,{text}'


def check_testable(cfg: Config) -> None:
    """Refuse a config that a report could not be made of.

    Args:
        cfg: Config of a training run.

    Raises:
        ValueError: It has no test images, or no :class:`LongTailMetric`.
    """
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            'A report needs test images, and the config has none (key '
            '`test_dataloader`).'
        )
    metrics = cfg.get('test_evaluator') or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    kinds = [str(metric.get('type')).rpartition('.')[2] for metric in metrics]
    if 'LongTailMetric' not in kinds:
        raise ValueError(
            f'A report needs the metric lift_mm.LongTailMetric, and the '
            f'config has {", ".join(kinds) or "none"} (key '
            '`test_evaluator`).'
        )


def tested(
    cfg: Config,
    checkpoint: str | os.PathLike | None,
    name: str,
    curves: Sequence[dict] = (),
) -> Facts:
    """Test a model and note what it does with each class.

    Args:
        cfg: Config of the training run.
        checkpoint: What it learned; None is the model as it starts.
        name: How to call it.
        curves: From :func:`read_curves`.

    Raises:
        ValueError: The config has no test, see :func:`check_testable`.
    """
    check_testable(cfg)
    runner = ready_run(cfg, checkpoint)
    model, loader = runner.model, runner.test_dataloader
    metric = next(
        m
        for m in runner.test_evaluator.metrics
        if isinstance(m, LongTailMetric)
    )
    images = seen_as_test(loader.dataset, runner)
    seen = view(
        model,
        images,
        loader.batch_size or 64,
        loader.num_workers,
        f'{printable(name)}, test images',
    )
    counts = metric.class_counts
    groups = shot_groups(
        group_counts(metric.groups, counts), metric.thresholds
    )
    labels = seen.labels.numpy()
    confidences, predictions = (
        t.numpy() for t in seen.logits.softmax(1).max(1)
    )
    names = metric.class_names
    rows = class_rows(labels, predictions, groups, names, counts)
    learned = sum(p.numel() for p in learned_parameters(model).values())
    size = sum(p.numel() for p in model.parameters())
    return Facts(
        name=name,
        checkpoint='' if checkpoint is None else os.fspath(checkpoint),
        metrics=measures(
            labels, predictions, confidences, groups, metric.num_bins
        ),
        rows=rows,
        calibration=calibration_bins(
            confidences, labels == predictions, metric.num_bins
        ),
        worst=worst_classes(
            rows, seen, images, model.data_preprocessor.to_rgb
        ),
        learned=learned_table(model),
        base_parameters=size - learned,
        curves=list(curves),
        config=cfg.pretty_text,
        environment=environment(),
    )


def run_facts(run: str | os.PathLike, name: str | None = None) -> Facts:
    """Test the last checkpoint of a run.

    Args:
        run: Work directory, or one of its checkpoints.
        name: How to call it; None is the name of the folder.
    """
    config, checkpoint = run_files(run)
    folder = checkpoint.parent
    return tested(
        Config.fromfile(config),
        checkpoint,
        name or folder.resolve().name,
        read_curves(folder),
    )
