"""One HTML file that needs nothing else."""

import importlib.resources
from collections.abc import Sequence

import jinja2
import plotly.offline
from markupsafe import Markup

from . import figures
from .facts import Facts

_CONFIG = dict(displaylogo=False, responsive=True)


def page(facts: Facts, others: Sequence[Facts] = ()) -> str:
    """Write the report of a run.

    Args:
        facts: The run.
        others: Runs to compare its groups with, such as zero-shot and the
            linear probe.

    Returns:
        HTML with scripts, styles and pictures inside.
    """
    charts = dict(
        frequency=figures.frequency_chart(facts.rows),
        groups=figures.group_chart(facts, others),
        calibration=figures.calibration_chart(facts.calibration),
    )
    if any('loss' in entry for entry in facts.curves):
        charts['curves'] = figures.curve_chart(facts.curves)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    here = importlib.resources.files(__package__)
    template = environment.from_string(
        (here / 'page.html.j2').read_text(encoding='utf-8')
    )
    learned = sum(row['parameters'] for row in facts.learned)
    return template.render(
        facts=facts,
        others=others,
        runs=[facts, *others],
        charts={
            name: Markup(
                chart.to_html(
                    full_html=False,
                    include_plotlyjs=False,
                    config=_CONFIG,
                    div_id=name,
                )
            )
            for name, chart in charts.items()
        },
        plotly=Markup(plotly.offline.get_plotlyjs()),
        measures=figures.MEASURES,
        learned=learned,
        share=100 * learned / (learned + facts.base_parameters),
    )
