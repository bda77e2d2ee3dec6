"""The picture of a long tail."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lift_mm.evaluation import shot_groups

# Told apart by the colour-blind (Okabe and Ito), and by their grey.
_COLOURS = dict(many='#0072B2', medium='#E69F00', few='#009E73')
_RANGES = dict(many='more than 100', medium='20 to 100', few='fewer than 20')
_NAMED = 40  # classes whose names the plot has room for


def count_plot(
    counts: Sequence[int], classes: Sequence[str], title: str
) -> bytes:
    """Draw the training images of each class, from head to tail.

    Many-, medium- and few-shot classes have colours of their own; up to 40
    classes are named.

    Args:
        counts: Training images of each class, by label, shape ``(C,)``.
        classes: Names by label.
        title: What stands above.

    Returns:
        A picture in the PNG format.
    """
    counts = np.asarray(counts)
    order = np.argsort(-counts, kind='stable')
    named = len(classes) <= _NAMED
    figure = Figure(figsize=(9, 5.2 if named else 4.2), layout='constrained')
    axes = figure.subplots()
    for group, members in shot_groups(counts[order]).items():
        if len(members):
            axes.bar(
                members,
                counts[order][members],
                width=0.8 if named else 1.0,
                color=_COLOURS[group],
                label=f'{group}-shot ({_RANGES[group]}): {len(members)}',
            )
    axes.set_yscale('log')
    # Bars of one image are seen, and there is room for the legend.
    axes.set_ylim(0.7, counts.max() * 2)
    axes.set_xlim(-0.7, len(classes) - 0.3)
    axes.yaxis.set_major_formatter('{x:g}')
    axes.set_ylabel('training images')
    axes.set_title(title)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(title='classes', frameon=False, loc='upper right')
    if named:
        names = [classes[label] for label in order]
        axes.set_xticks(
            range(len(names)), names, rotation=60, ha='right', parse_math=False
        )
    else:
        axes.set_xlabel('classes by size')
    data = io.BytesIO()
    with warnings.catch_warnings():
        # Of a script that the font lacks: a name is drawn as boxes.
        warnings.filterwarnings('ignore', r'Glyph .* missing')
        figure.savefig(data, format='png', dpi=120)
    return data.getvalue()
