"""What an evaluation says of each class: a table and two files."""

import contextlib
import csv
import json
import os
from collections.abc import Sequence

import numpy as np

from lift_mm.clip.names import printable

from .functional import most_confused, per_class_recall

FIELDS = (
    'label',
    'class_name',
    'group',
    'train_count',
    'test_count',
    'correct',
    'accuracy',
    'confused_with',
    'confused_count',
    'confused_share',
)


def class_rows(
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: dict[str, np.ndarray],
    class_names: Sequence[str] | None = None,
    train_counts: Sequence[int] | None = None,
) -> list[dict]:
    """Give the result of each class.

    Args:
        labels: True class of every image, shape ``(N,)``.
        predictions: Predicted class of every image, shape ``(N,)``.
        groups: The class indices of each group; every class is in one.
        class_names: Name of each class, if known.
        train_counts: Training images of each class, if known.

    Returns:
        A dict with :data:`FIELDS` for each class, by label. ``accuracy`` is
        the recall in per cent, and ``confused_*`` tell the class that most
        images were wrongly taken for, how many, and their share of the
        class's images in per cent. None marks what is unknown: the accuracy
        of a class without images, or a confusion where all is right.
    """
    size = sum(map(len, groups.values()))
    names = class_names if class_names is not None else [None] * size
    trained = train_counts if train_counts is not None else [None] * size
    group_of = {c: name for name, g in groups.items() for c in g.tolist()}
    total = np.bincount(labels, minlength=size).tolist()
    hits = np.bincount(labels[labels == predictions], minlength=size).tolist()
    recalls = per_class_recall(labels, predictions, size).tolist()
    others, times = (
        column.tolist() for column in most_confused(labels, predictions, size)
    )
    rows = []
    for c in range(size):
        confusion = (None, None, None)
        if times[c]:
            other = others[c] if class_names is None else names[others[c]]
            confusion = (other, times[c], 100.0 * times[c] / total[c])
        accuracy = recalls[c] if total[c] else None
        values = (c, names[c], group_of[c], trained[c], total[c], hits[c])
        values += (accuracy, *confusion)
        rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows


def absent_classes(rows: list[dict]) -> list[dict]:
    """Give the rows of classes without test images."""
    return [row for row in rows if not row['test_count']]


def some_names(rows: list[dict], number: int = 5) -> str:
    """Name the first classes (by label where unnamed), count the others."""
    names = [
        str(row['label'])
        if row['class_name'] is None
        else repr(row['class_name'])
        for row in rows[:number]
    ]
    rest = len(rows) - len(names)
    return ', '.join(names) + (f' and {rest} more' if rest else '')


def worst_table(rows: list[dict], number: int) -> str:
    """Render the classes of lowest accuracy, and a line with the groups.

    Args:
        rows: From :func:`class_rows`.
        number: Classes to show.
    """
    tested = [row for row in rows if row['test_count']]
    worst = sorted(tested, key=lambda row: (row['accuracy'], row['label']))
    lines = [
        f'{"worst classes":<24}{"group":>8}{"train":>8}{"test":>7}'
        f'{"accuracy":>10}  most often taken for'
    ]
    for row in worst[:number]:
        name, confused = row['class_name'], row['confused_with']
        name = row['label'] if name is None else name
        trained = '?' if row['train_count'] is None else row['train_count']
        other = f'{_short(confused, 40)} ({row["confused_share"] or 0:.1f} %)'
        lines.append(
            f'{_short(name, 23):<24}{row["group"]:>8}{trained:>8}'
            f'{row["test_count"]:>7}{row["accuracy"]:>10.2f}  '
            f'{other if row["confused_count"] else "-"}'
        )
    return '\n'.join([*lines, _group_line(tested, rows)])


def _group_line(tested: list[dict], rows: list[dict]) -> str:
    parts = []
    for name in ('many', 'medium', 'few'):
        found = [r['accuracy'] for r in tested if r['group'] == name]
        size = sum(row['group'] == name for row in rows)
        number = f'{size}' if len(found) == size else f'{len(found)} of {size}'
        rate = f'{np.mean(found):.2f}' if found else 'absent'
        parts.append(f'{name} {rate} ({number})')
    return f'accuracy (classes): {", ".join(parts)}'


def _short(value: object, width: int) -> str:
    """Keep a name on one line of a table."""
    text = printable(' '.join(str(value).split()))
    return text if len(text) <= width else f'{text[: width - 3]}...'


def dump_stem(path: str | os.PathLike) -> str:
    """Give the path of the two files without ending, if they can be written.

    Args:
        path: Where they shall lie, with or without ``.csv`` or ``.json``.

    Raises:
        TypeError: ``path`` is no path.
        ValueError: No file can be written there.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f'dump={path!r} is no path; give the path of the two files '
            'without ending (metric key `dump`).'
        )
    stem = os.path.expanduser(os.fspath(path))
    root, ending = os.path.splitext(stem)
    stem = root if ending.lower() in ('.csv', '.json') else stem
    folder = os.path.dirname(os.path.abspath(stem))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if os.path.basename(stem) in ('', '.', '..'):
        fault = 'names a folder'
    elif not os.path.isdir(folder):
        fault = f'lies below {folder!r}, which is a file'
    elif not os.access(folder, os.W_OK):
        fault = f'lies in {folder!r}, where this user must not write'
    else:
        return stem
    raise ValueError(
        f'dump={os.fspath(path)!r} {fault}; give the path of two files that '
        "can be written, such as 'work_dirs/per_class' (metric key `dump`)."
    )


def write_report(
    stem: str, rows: list[dict], metrics: dict[str, float], settings: dict
) -> None:
    """Write ``<stem>.csv`` and ``<stem>.json``, whole or not at all.

    Args:
        stem: Path without ending; folders are made as needed.
        rows: From :func:`class_rows`; None is an empty cell in the CSV file
            and null in the JSON file.
        metrics: The overall measures, for the JSON file.
        settings: How they were computed, for the JSON file.
    """
    os.makedirs(os.path.dirname(os.path.abspath(stem)), exist_ok=True)
    parts = {end: f'{stem}.{os.getpid()}.{end}.part' for end in _WRITERS}
    report = dict(metrics=metrics, settings=settings, classes=rows)
    try:
        for end, write in _WRITERS.items():
            # A name that is no valid text (of a folder in another encoding)
            # is written with escapes, which JSON reads back.
            with open(
                parts[end],
                'w',
                encoding='utf-8',
                errors='backslashreplace',
                newline='',
            ) as file:
                write(report, file)
        for end, part in parts.items():
            os.replace(part, f'{stem}.{end}')
    finally:
        for part in parts.values():
            with contextlib.suppress(FileNotFoundError):
                os.remove(part)


def _write_csv(report: dict, file) -> None:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(report['classes'])


def _write_json(report: dict, file) -> None:
    json.dump(report, file, indent=2, ensure_ascii=False, allow_nan=False)
    file.write('\n')


_WRITERS = dict(csv=_write_csv, json=_write_json)
