"""What a table of experiments is, and how one's own is read."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

# Measures of lift_mm.LongTailMetric (without 'lt/') -> head of a column.
MEASURES = dict(
    acc='overall', acc_many='many', acc_medium='medium', acc_few='few'
)


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: What the line is called.
        config: Config file, relative to the folder that holds ``configs``.
        trains: Whether there is a training before the test.
        tta: Whether the test averages over crops (``--tta``).
        test_config: Config of the test, where it is not that of training.
        options: Further ``KEY=VALUE`` for the config.
        published: Measure (see :data:`MEASURES`) -> published per cent.
        source: Where the published numbers stand.
    """

    name: str
    config: str
    trains: bool = True
    tta: bool = False
    test_config: str = ''
    options: tuple[str, ...] = ()
    published: dict[str, float] = field(default_factory=dict)
    source: str = ''


@dataclass(frozen=True)
class Table:
    """Rows that belong together, and what they are called."""

    title: str
    rows: tuple[Row, ...]


def read_table(path: Path) -> Table:
    """Read a table of one's own.

    Args:
        path: JSON of ``{"title": ..., "rows": [{"name": ..., "config": ...,
            ...}]}`` with the keys of :class:`Row`.

    Raises:
        ValueError: It is no such JSON.
    """
    try:
        data = json.loads(path.read_text())
        rows = tuple(
            Row(**{**row, 'options': tuple(row.get('options', ()))})
            for row in data['rows']
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        keys = ', '.join(key.name for key in fields(Row))
        raise ValueError(
            f'{str(path)!r} is no table ({type(error).__name__}: {error}); '
            'write {"title": ..., "rows": [{"name": ..., "config": ...}]} '
            f'with the keys {keys} (argument TABLE).'
        ) from error
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f'{str(path)!r} has two rows {name!r}; each needs a name of '
                'its own (key `name`).'
            )
    for measure in {m for row in rows for m in row.published}:
        if measure not in MEASURES:
            raise ValueError(
                f'{str(path)!r} publishes {measure!r}; the measures are '
                f'{", ".join(MEASURES)} (key `published`).'
            )
    return Table(data.get('title', path.stem), rows)
