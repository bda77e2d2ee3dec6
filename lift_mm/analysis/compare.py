"""Runs side by side: table, CSV, LaTeX, picture."""

import csv
import io
import warnings
from collections.abc import Sequence

from matplotlib.figure import Figure

MEASURES = {
    'acc': 'overall',
    'acc_many': 'many',
    'acc_medium': 'medium',
    'acc_few': 'few',
    'acc_mean': 'class mean',
    'hmean': 'hmean',
    'f1_macro': 'macro F1',
    'ece': 'ECE',
}
_LOWER_IS_BETTER = ('ece',)
# Told apart by the colour-blind (Okabe and Ito), and by their hatches.
_COLOURS = ('#999999', '#56B4E9', '#0072B2', '#009E73', '#E69F00', '#D55E00')
_HATCHES = ('', '//', '..', 'xx', '--', '\\\\')
_SPECIAL = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    **{sign: f'\\{sign}' for sign in '&%$#_{}'},
}


def comparison(reports: dict[str, dict]) -> list[dict]:
    """Give a row for each run.

    Args:
        reports: What ``report.json`` holds, by the name of the run.

    Returns:
        ``run``, ``learned_params``, ``head_params`` and the measures in per
        cent; None where one is lacking.
    """
    rows = []
    for name, report in reports.items():
        sizes = {True: 0, False: 0}
        for tensor in report['learned']:
            head = tensor['name'].startswith('head.')
            sizes[head] += tensor['parameters']
        rows.append(
            dict(
                run=name,
                learned_params=sizes[False],
                head_params=sizes[True],
                **{key: report['metrics'].get(key) for key in MEASURES},
            )
        )
    return rows


def to_csv(rows: Sequence[dict]) -> str:
    """Give rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_latex(rows: Sequence[dict]) -> str:
    """Give rows as a table for the package booktabs, the best in bold."""
    keys = [k for k in MEASURES if any(r[k] is not None for r in rows)]
    lines = [
        rf'\begin{{tabular}}{{lr{"r" * len(keys)}}}',
        r'\toprule',
        ' & '.join(['run', 'learned', *(MEASURES[k] for k in keys)]) + r' \\',
        r'\midrule',
    ]
    best = {key: _best(rows, key) for key in keys}
    for row in rows:
        cells = [_tex(row['run']), f'{row["learned_params"]:,}']
        for key in keys:
            value = row[key]
            cell = '--' if value is None else f'{value:.1f}'
            top = value is not None and cell == f'{best[key]:.1f}'
            cells.append(rf'\textbf{{{cell}}}' if top else cell)
        lines.append(' & '.join(cells) + r' \\')
    return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


def _best(rows: Sequence[dict], key: str) -> float:
    values = [row[key] for row in rows if row[key] is not None]
    return (min if key in _LOWER_IS_BETTER else max)(values)


def _tex(name: str) -> str:
    return ''.join(_SPECIAL.get(sign, sign) for sign in name)


def comparison_plot(rows: Sequence[dict]) -> bytes:
    """Draw the groups of all runs side by side.

    Returns:
        A picture in the PNG format.
    """
    keys = ('acc', 'acc_many', 'acc_medium', 'acc_few')
    figure = Figure(
        figsize=(max(6.4, 1.5 + 2 * len(rows)), 4.2), layout='constrained'
    )
    axes = figure.subplots()
    width = 0.84 / len(rows)
    for place, row in enumerate(rows):
        bars = axes.bar(
            [k + (place - (len(rows) - 1) / 2) * width for k in range(4)],
            [row[key] or 0 for key in keys],
            width,
            color=_COLOURS[place % 6],
            hatch=_HATCHES[place % 6],
            edgecolor='white',
            # matplotlib leaves out what begins with an underscore.
            label=f' {row["run"]}',
        )
        texts = ['' if row[k] is None else f'{row[k]:.1f}' for k in keys]
        axes.bar_label(bars, texts, fontsize='small', padding=1)
    axes.set_xticks(range(4), [MEASURES[key] for key in keys])
    axes.set_ylabel('accuracy in %')
    axes.set_ylim(0, 108)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.3)
    axes.set_axisbelow(True)
    columns = min(4, len(rows))
    legend = figure.legend(loc='outside upper left', ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)
    data = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes.
        warnings.filterwarnings('ignore', r'Glyph .* missing')
        figure.savefig(data, format='png', dpi=120)
    return data.getvalue()
