"""The report's charts, by plotly."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .facts import Facts

# Told apart by the colour-blind (Okabe and Ito), and by their symbols.
GROUPS = dict(
    many=('#0072B2', 'circle'),
    medium=('#E69F00', 'square'),
    few=('#009E73', 'diamond'),
)
_RUNS = ('#999999', '#56B4E9', '#0072B2', '#CC79A7', '#D55E00')
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
MEASURES = dict(
    acc='all images',
    acc_many='many-shot',
    acc_medium='medium-shot',
    acc_few='few-shot',
)


def frequency_chart(rows: Sequence[dict]) -> go.Figure:
    """Draw the accuracy of each class over its training images."""
    figure = go.Figure()
    for group, (colour, symbol) in GROUPS.items():
        own = [
            row for row in rows if row['group'] == group and row['test_count']
        ]
        if not own:
            continue
        figure.add_scatter(
            x=[row['train_count'] for row in own],
            y=[row['accuracy'] for row in own],
            mode='markers',
            name=f'{group}-shot ({len(own)} classes)',
            marker=dict(
                color=colour,
                symbol=symbol,
                size=11 if len(rows) <= 200 else 6,
                opacity=0.85 if len(rows) <= 200 else 0.5,
                line=dict(color='white', width=1),
            ),
            text=[_hover(row) for row in own],
            hovertemplate='%{text}<extra></extra>',
        )
        mean = sum(row['accuracy'] for row in own) / len(own)
        ends = [f(row['train_count'] for row in own) for f in (min, max)]
        if ends[0] == ends[1]:  # a class alone: its mark is its mean
            continue
        figure.add_scatter(
            x=ends,
            y=[mean, mean],
            mode='lines',
            line=dict(color=colour, width=2, dash='dot'),
            hovertemplate=f'{group}-shot mean: {mean:.1f} %<extra></extra>',
            showlegend=False,
        )
    figure.update_xaxes(
        title='training images of the class',
        type='log',
        tickvals=[n * 10**e for e in range(6) for n in (1, 2, 5)],
        minor=dict(showgrid=False),
    )
    figure.update_yaxes(title='accuracy in %', range=[-3, 103])
    return _styled(figure)


def group_chart(facts: Facts, others: Sequence[Facts]) -> go.Figure:
    """Draw the accuracy of each group beside those of other runs."""
    figure = go.Figure()
    runs = [*others, facts]
    colours = [*_RUNS[: len(others)], '#D55E00']
    patterns = ('', '/', '.', 'x', '-')
    for place, (run, colour) in enumerate(zip(runs, colours)):
        values = [run.metrics.get(key) for key in MEASURES]
        figure.add_bar(
            x=['all', 'many', 'medium', 'few'],
            y=values,
            name=_text(run.name),
            marker=dict(
                color=colour,
                pattern=dict(
                    shape=patterns[place % 5] if run is not facts else '',
                    fgcolor='white',
                    size=5,
                ),
            ),
            text=['' if v is None else f'{v:.1f}' for v in values],
            textposition='outside',
            hovertemplate='%{x}: %{y:.2f} %<extra></extra>',
        )
    figure.update_yaxes(title='accuracy in %', range=[0, 112])
    figure.update_layout(barmode='group', bargap=0.2)
    return _styled(figure)


def curve_chart(curves: Sequence[dict]) -> go.Figure:
    """Draw loss, learning rate and validated accuracies over the steps."""
    trained = [entry for entry in curves if 'loss' in entry]
    scored = [entry for entry in curves if 'lt/acc' in entry]
    figure = make_subplots(
        rows=2 + bool(scored),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06,
    )
    steps = [entry['step'] for entry in trained]
    for row, (key, title) in enumerate(
        (('loss', 'loss'), ('lr', 'learning rate')), start=1
    ):
        figure.add_scatter(
            x=steps,
            y=[entry.get(key) for entry in trained],
            name=title,
            line=dict(color='#0072B2', dash='solid' if row == 1 else 'dash'),
            showlegend=False,
            row=row,
            col=1,
        )
        figure.update_yaxes(title=title, row=row, col=1)
    # A validation is logged with its epoch: its place is where that ended.
    ends = {}
    for entry in trained:
        ends[entry.get('epoch')] = entry['step']
    for key, label in MEASURES.items():
        own = [entry for entry in scored if f'lt/{key}' in entry]
        if not own:
            continue
        colour = GROUPS.get(key.removeprefix('acc_'), ('#222222', 'star'))
        figure.add_scatter(
            x=[ends.get(entry['step'], entry['step']) for entry in own],
            y=[entry[f'lt/{key}'] for entry in own],
            name=label,
            mode='lines+markers',
            marker=dict(symbol=colour[1], size=8),
            line=dict(color=colour[0]),
            row=3,
            col=1,
        )
    last = 3 if scored else 2
    if scored:
        figure.update_yaxes(title='validation, %', row=3, col=1)
    figure.update_xaxes(title='step', row=last, col=1)
    return _styled(figure, height=230 * last)


def calibration_chart(bins: Sequence[dict]) -> go.Figure:
    """Draw accuracy over confidence, and how many images lie where."""
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        row_heights=[0.72, 0.28],
        vertical_spacing=0.06,
    )
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode='lines',
        line=dict(color='#999999', dash='dash'),
        name='perfectly calibrated',
        hoverinfo='skip',
        row=1,
        col=1,
    )
    confidences = [b['confidence'] for b in bins]
    figure.add_scatter(
        x=confidences,
        y=[b['accuracy'] for b in bins],
        mode='lines+markers',
        line=dict(color='#D55E00'),
        marker=dict(size=9),
        name='this run',
        hovertemplate='confidence %{x:.1f} %<br>accuracy %{y:.1f} %'
        '<extra></extra>',
        row=1,
        col=1,
    )
    figure.add_bar(
        x=confidences,
        y=[b['images'] for b in bins],
        width=7,
        marker=dict(color='#56B4E9'),
        showlegend=False,
        hovertemplate='%{y} images<extra></extra>',
        row=2,
        col=1,
    )
    figure.update_yaxes(title='accuracy in %', range=[-3, 103], row=1, col=1)
    figure.update_yaxes(title='images', row=2, col=1)
    figure.update_xaxes(range=[0, 101])
    figure.update_xaxes(title='confidence in %', row=2, col=1)
    return _styled(figure, height=460)


def _hover(row: dict) -> str:
    lines = [
        f'<b>{_text(row["class_name"])}</b>',
        f'{row["train_count"]:,} training images',
        f'{row["accuracy"]:.1f} % of {row["test_count"]:,} test images',
    ]
    if row['confused_with'] is not None:
        lines.append(
            f'taken for {_text(row["confused_with"])}: '
            f'{row["confused_share"]:.1f} %'
        )
    return '<br>'.join(lines)


def _text(name: object) -> str:
    """Let plotly, which reads some tags, show a name as it is."""
    # It would show &quot; as that.
    return html.escape(' '.join(str(name).split()), quote=False)


def _styled(figure: go.Figure, height: int = 420) -> go.Figure:
    figure.update_layout(
        template='plotly_white',
        height=height,
        margin=dict(l=56, r=12, t=36, b=48),
        font=dict(family=_FONT, size=13),
        legend=dict(orientation='h', y=1.02, yanchor='bottom', x=0),
        hoverlabel=dict(font=dict(size=13)),
    )
    figure.update_xaxes(automargin=True)
    return figure
