"""The pictures of inconsistent class conditions."""

import io
import warnings

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

_BINS = dict(many=100, few=50)  # as published
# Told apart by the colour-blind (Okabe and Ito), and by their line.
_SIDES = dict(train=('#0072B2', '-'), test=('#D55E00', '--'))
_RANGE = (-0.1, 1.1)


def condition_plot(models: dict[str, dict]) -> bytes:
    """Draw distances within classes and similarities between them.

    One column a model: densities of the cosine distance of an image from
    its class's mean, in many- and in few-shot classes, for training and test
    images; below, the cosines between class means of the test images, from
    head to tail. LIFT's figures for zero-shot CLIP, full and light
    fine-tuning have this form.

    Args:
        models: :func:`class_conditions` of each model, by its name.

    Returns:
        A picture in the PNG format.
    """
    figure = Figure(figsize=(1.6 + 3.2 * len(models), 9), layout='constrained')
    axes = figure.subplots(3, len(models), squeeze=False)
    for column, (name, found) in enumerate(models.items()):
        for row, group in enumerate(_BINS):
            _densities(axes[row, column], found['distances'][group], group)
        axes[0, column].set_title(name, parse_math=False)
        image = axes[2, column].imshow(
            found['similarity'].numpy(),
            vmin=-1,
            vmax=1,
            cmap='RdBu_r',
            interpolation='nearest',
        )
        axes[2, column].set_xlabel('class, from head to tail')
        axes[2, column].set_title(
            f'mean cosine {found["between"]:.2f}', fontsize='medium'
        )
    for row, group in enumerate(_BINS):
        highest = max(a.get_ylim()[1] for a in axes[row])
        for panel in axes[row]:
            panel.set_ylim(0, highest)
            panel.tick_params(labelleft=panel is axes[row, 0])
        axes[row, 0].set_ylabel(f'{group}-shot classes: density')
    axes[2, 0].set_ylabel('class, from head to tail')
    figure.colorbar(
        image, ax=axes[2].tolist(), label='cosine of class means', pad=0.02
    )
    data = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes.
        warnings.filterwarnings('ignore', r'Glyph .* missing')
        figure.savefig(data, format='png', dpi=120, bbox_inches='tight')
    return data.getvalue()


def _densities(axes, sides: dict, group: str) -> None:
    axes.set_xlim(*_RANGE)
    axes.set_xlabel('1 - cos to the class mean')
    axes.spines[['top', 'right']].set_visible(False)
    for side, (colour, line) in _SIDES.items():
        values = sides[side].numpy()
        if not len(values):
            continue
        label = f'{side} ({len(values):,} images)'
        axes.hist(
            values,
            _BINS[group],
            range=_RANGE,
            density=True,
            color=colour,
            alpha=0.3,
            label=label,
        )
        if len(np.unique(values)) > 1:
            grid = np.linspace(*_RANGE, 500)
            axes.plot(grid, gaussian_kde(values)(grid), line, color=colour)
    if axes.has_data():
        axes.legend(frameon=False, fontsize='small')
