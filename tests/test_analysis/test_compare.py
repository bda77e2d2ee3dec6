"""Tables and pictures of several runs."""

import csv
import io
import warnings

import pytest
from matplotlib.figure import Figure

from lift_mm.analysis.compare import (
    MEASURES,
    comparison,
    comparison_plot,
    to_csv,
    to_latex,
)

NAMES = ['=cmd()', '</script>&_%#{}', '_hidden', 'שלום 🦊', 'a, "b" $x$ \\ ~^']


def report(few=None, **metrics):
    learned = [
        dict(name='backbone.layers.*.up.weight', parameters=60),
        dict(name='head.fc.weight', parameters=40),
        dict(name='backbone.layers.*.scale', parameters=6),
    ]
    metrics = dict(dict(acc=70.0, acc_mean=60.0, ece=5.0), **metrics)
    if few is not None:
        metrics['acc_few'] = few
    return dict(learned=learned, metrics=metrics)


def test_rows():
    (row,) = comparison(dict(lift=report(few=50.0)))
    assert (row['learned_params'], row['head_params']) == (66, 40)
    assert row['acc_few'] == 50.0 and row['acc_many'] is None
    assert list(row)[3:] == list(MEASURES)


def test_csv_keeps_names_and_gaps():
    rows = comparison({name: report() for name in NAMES})
    found = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [row['run'] for row in found] == NAMES
    assert found[0]['acc_few'] == '' and found[0]['acc'] == '70.0'


def test_latex():
    rows = comparison(
        {
            '50%_a': report(few=50.04, ece=5.0),
            'b': report(few=50.01, ece=3.0),
            'c': report(acc=71.0, ece=4.0),
        }
    )
    lines = to_latex(rows).splitlines()
    body = [line.removesuffix(r' \\').split(' & ') for line in lines]
    assert body[2] == 'run,learned,overall,few,class mean,ECE'.split(',')
    a, b, c = body[4:7]
    assert a[0] == r'50\%\_a'
    # Both are the best at the decimal that is shown.
    assert a[3] == b[3] == r'\textbf{50.0}' and c[3] == '--'
    assert c[2] == r'\textbf{71.0}' and a[2] == '70.0'
    assert b[5] == r'\textbf{3.0}' and a[5] == '5.0'
    assert lines[0] == r'\begin{tabular}{lrrrrr}'


@pytest.mark.parametrize('name', NAMES)
def test_latex_of_odd_names(name):
    text = to_latex(comparison({name: report()})).splitlines()[4]
    cell = text.split(' & 66')[0]
    bare = cell.replace(r'\textbackslash{}', '').replace('~', '?')
    bare = bare.replace(r'\textasciitilde{}', '')
    bare = bare.replace(r'\textasciicircum{}', '')
    for sign in '&%$#_{}':
        assert bare.count(sign) == bare.count(f'\\{sign}')


def test_picture(monkeypatch):
    rows = comparison({name: report(few=40.0) for name in NAMES})
    drawn, legend = [], Figure.legend

    def noted(*args, **kwargs):
        drawn.append(legend(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(Figure, 'legend', noted)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert comparison_plot(rows).startswith(b'\x89PNG')
    texts = drawn[0].get_texts()
    assert [text.get_text().strip() for text in texts] == NAMES
    assert not any(text.get_parse_math() for text in texts)
