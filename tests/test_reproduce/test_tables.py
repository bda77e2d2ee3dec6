"""Tables: the published ones, and one's own."""

import json
import re

import pytest
from miniature import REPO

from lift_mm.reproduce.published import TABLES
from lift_mm.reproduce.tables import MEASURES, Row, read_table

ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]


CONFIGS = {row.config for _, row in ROWS}
CONFIGS |= {row.test_config for _, row in ROWS if row.test_config}


@pytest.mark.parametrize('config', sorted(CONFIGS))
def test_configs_exist(config):
    assert (REPO / config).is_file()


def test_every_number_has_a_source():
    for name, row in ROWS:
        assert bool(row.published) == bool(row.source), (name, row.name)
        assert row.published.keys() <= MEASURES.keys()
        assert all(0 < value < 100 for value in row.published.values())
    for table in TABLES.values():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)


def test_own_table(tmp_path):
    path = tmp_path / 'mine.json'
    row = dict(name='a', config='c.py', tta=True, options=['x=1'])
    path.write_text(json.dumps(dict(rows=[row])))
    table = read_table(path)
    assert table.title == 'mine'
    assert table.rows == (Row('a', 'c.py', tta=True, options=('x=1',)),)


def test_guide(tmp_path):
    """The guide names every table, and its example can be read."""
    guide = (REPO / 'docs' / 'reproduce.md').read_text()
    listed = guide.split('| tables | rows |')[1].split('\n\n')[0]
    assert set(re.findall('`([a-z0-9-]+)`', listed)) == TABLES.keys()
    path = tmp_path / 'mine.json'
    path.write_text(guide.split('```json')[1].split('```')[0])
    assert [row.trains for row in read_table(path).rows] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'is no table'),
        ('{}', "KeyError: 'rows'"),
        ('{"rows": [{"name": "a"}]}', 'config'),
        ('{"rows": [{"name": "a", "config": "c", "x": 1}]}', "'x'"),
        (
            '{"rows": [{"name": "a", "config": "c"}, '
            '{"name": "a", "config": "d"}]}',
            "two rows 'a'",
        ),
        (
            '{"rows": [{"name": "a", "config": "c", "published": {"f": 1}}]}',
            "publishes 'f'",
        ),
    ],
)
def test_malformed_table(tmp_path, text, message):
    path = tmp_path / 'mine.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)
