"""What is said of each class, in the log and in files."""

import csv
import json
import os

import numpy as np
import pytest

from lift_mm.evaluation import report
from lift_mm.evaluation.functional import shot_groups
from lift_mm.evaluation.report import (
    FIELDS,
    class_rows,
    dump_stem,
    worst_table,
    write_report,
)

COUNTS = [500, 60, 30, 5]
GROUPS = shot_groups(COUNTS)
LABELS = np.array([0, 0, 0, 1, 1, 1, 3, 3, 3])
GUESSES = np.array([0, 0, 1, 1, 1, 1, 0, 0, 3])
NASTY = ['a "b"', 'c, d;\n e', '🦊 Füchse', "o'wl\\ \udcff"]


def rows(names=None, counts=COUNTS):
    return class_rows(LABELS, GUESSES, GROUPS, names, counts)


def test_rows():
    want = [
        (0, 'ant', 'many', 500, 3, 2, 200 / 3, 'bee', 1, 100 / 3),
        (1, 'bee', 'medium', 60, 3, 3, 100.0, None, None, None),
        (2, 'cat', 'medium', 30, 0, 0, None, None, None, None),
        (3, 'elk', 'few', 5, 3, 1, 100 / 3, 'ant', 2, 200 / 3),
    ]
    found = rows(['ant', 'bee', 'cat', 'elk'])
    assert found == [dict(zip(FIELDS, row, strict=True)) for row in want]


def test_rows_without_names_and_counts():
    found = rows(counts=None)
    assert [row['class_name'] for row in found] == [None] * 4
    assert [row['train_count'] for row in found] == [None] * 4
    assert [row['confused_with'] for row in found] == [1, None, None, 0]


def test_files_give_back_every_name(tmp_path):
    stem = tmp_path / 'deep' / 'er' / 'report'
    found = rows(NASTY)
    write_report(str(stem), found, {'lt/acc': 1 / 3}, dict(groups='train'))
    files = sorted(path.name for path in stem.parent.iterdir())
    assert files == ['report.csv', 'report.json']
    whole = json.loads(stem.with_suffix('.json').read_text('utf-8'))
    assert whole == dict(
        metrics={'lt/acc': 1 / 3},
        settings=dict(groups='train'),
        classes=found,
    )
    with open(stem.with_suffix('.csv'), encoding='utf-8', newline='') as file:
        table = list(csv.DictReader(file))
    assert [row['class_name'] for row in table[:3]] == NASTY[:3]
    # No UTF-8 can hold a byte of another encoding.
    assert table[3]['class_name'] == "o'wl\\ \\udcff"
    for row, want in zip(table, found, strict=True):
        for key in ('accuracy', 'test_count', 'confused_share'):
            text = '' if want[key] is None else repr(want[key])
            assert row[key] == text
    assert '🦊' in stem.with_suffix('.json').read_text('utf-8')


def test_failure_leaves_the_old_files(tmp_path, monkeypatch):
    stem = str(tmp_path / 'report')
    write_report(stem, rows(), {}, {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    with pytest.raises(ValueError):
        write_report(stem, rows(NASTY), {'lt/ece': float('nan')}, {})
    monkeypatch.setattr(report.json, 'dump', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(stem, rows(NASTY), {}, {})
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize('ending', ['', '.csv', '.json', '.JSON'])
def test_stem(tmp_path, ending):
    want = str(tmp_path / 'run 1.5' / 'per.class')
    assert dump_stem(f'{want}{ending}') == want
    assert os.listdir(tmp_path) == []


def test_relative_path_starts_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_report(dump_stem('report.csv'), rows(), {}, {})
    assert sorted(os.listdir(tmp_path)) == ['report.csv', 'report.json']


def test_stem_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    for path, fault in [
        (f'{tmp_path}/new/', 'names a folder'),
        ('', 'names a folder'),
        (f'{tmp_path}/file/report', 'is a file'),
    ]:
        with pytest.raises(ValueError, match=f'{fault}.*key `dump`'):
            dump_stem(path)


def test_table():
    text = worst_table(rows(['ant', 'bee\nbeetle', 'cat', 'elk' * 9]), 2)
    head, *lines = text.split('\n')
    assert head.startswith('worst classes') and len(lines) == 3
    assert lines[0].split() == (
        'elkelkelkelkelkelkel... few 5 3 33.33 ant (66.7 %)'.split()
    )
    assert lines[1].split() == (
        'ant many 500 3 66.67 bee beetle (33.3 %)'.split()
    )
    assert lines[2] == (
        'accuracy (classes): many 66.67 (1), medium 100.00 (1 of 2), '
        'few 33.33 (1)'
    )
    # Columns stand below each other, whatever the names.
    assert {line.index(f' {n} ') for line, n in zip(lines, (3, 3))} == {
        head.index('test') + 2
    }


def test_table_of_all_classes():
    text = worst_table(rows(counts=None), 99)
    assert text.count('\n') == 4
    assert text.split('\n')[3].split() == '1 medium ? 3 100.00 -'.split()
    lonely = class_rows(LABELS[:3], GUESSES[:3], GROUPS)
    assert worst_table(lonely, 1).endswith('few absent (0 of 1)')
