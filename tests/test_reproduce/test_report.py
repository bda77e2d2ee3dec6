"""Means, deviations, verdicts, and the files they are written to."""

import csv
import io

import pytest

from lift_mm.reproduce.report import Line, cells, csv_text, header, markdown
from lift_mm.reproduce.tables import Row, Table


def result(**metrics):
    return dict(
        metrics={f'lt/{key}': value for key, value in metrics.items()},
        learned_params=12_345,
        head_params=678,
        date='2026-11-24',
        machine='2 CPU cores',
        versions=dict(torch='2.6'),
    )


@pytest.mark.parametrize(
    'measure, published, found, verdict',
    [
        ('acc', 77.0, [77.2, 77.4], 'inside'),
        ('acc', 77.0, [77.3], 'inside'),
        ('acc', 77.0, [76.69], 'outside'),
        ('acc', 77.0, [77.31], 'outside'),
        ('acc_many', 81.3, [80.7], 'inside'),
        ('acc_many', 81.3, [80.6], 'outside'),
        ('acc_medium', 77.4, [78.0], 'inside'),
        ('acc_few', 73.4, [72.4], 'inside'),
        ('acc_few', 73.4, [72.3], 'outside'),
        ('acc_few', 73.4, [], 'not measured'),
        ('acc_few', 73.4, [float('nan')], 'not measured'),
        ('acc_few', None, [72.3], 'not published'),
    ],
)
def test_verdict(measure, published, found, verdict):
    numbers = {} if published is None else {measure: published}
    line = Line(
        Row('a', 'c.py', published=numbers),
        [result(**{measure: value}) for value in found],
    )
    assert line.verdict(measure) == verdict


def test_statistics():
    line = Line(Row('a', 'c.py'), [result(acc=v) for v in (1.0, 2.0, 6.0)])
    mean, deviation = line.statistic('acc')
    assert mean == pytest.approx(3)
    assert deviation == pytest.approx(7**0.5)  # of a sample: n - 1
    assert Line(line.row, line.results[:1]).statistic('acc') == (1.0, None)
    assert line.statistic('acc_few') is None


def test_written():
    row = Row('LIFT', 'c.py', published=dict(acc=77.0), source='a paper')
    results = [result(acc=v, acc_few=50.0) for v in (76.9, 77.1)]
    lines = [Line(row, results), Line(Row('other', 'd.py'), [])]
    assert cells(lines[0]) == [
        'LIFT',
        '77.0 ± 0.1 (77.0, inside)',
        '-',
        '-',
        '50.0 ± 0.0',
        '12,345 (+ 678)',
        '2',
        'a paper',
    ]
    text = markdown(Table('A title', (row, lines[1].row)), lines)
    table = [line for line in text.splitlines() if line.startswith('|')]
    assert text.startswith('# A title\n') and len(table) == 4
    assert {line.count('|') for line in table} == {len(header()) + 1}
    assert '2026-11-24; 2 CPU cores; torch 2.6.' in text
    first, *_, last = csv.DictReader(io.StringIO(csv_text(lines)))
    assert first['mean'] == '77.0' and first['verdict'] == 'inside'
    assert (last['row'], last['mean'], last['runs']) == ('other', '', '0')
