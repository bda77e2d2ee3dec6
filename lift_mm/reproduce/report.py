"""What came out, beside what was published."""

import csv
import io
import math
import statistics
from dataclasses import dataclass

from .tables import MEASURES, Row, Table

# Measure -> how far a mean may lie from the published value, in per cent.
# Several times the deviation over seeds that was measured for LIFT+ on
# ImageNet-LT and Places-LT (overall 0.1, few-shot 0.3).
MARGINS = dict(acc=0.3, acc_many=0.6, acc_medium=0.6, acc_few=1.0)
NOTE = (
    'Accuracy in per cent, mean and standard deviation over seeds. In '
    'brackets the published value; a mean is "inside" up to '
    + ', '.join(f'{MARGINS[key]} ({MEASURES[key]})' for key in MEASURES)
    + ' from it.'
)


@dataclass(frozen=True)
class Line:
    """A row with its results.

    Attributes:
        row: The row.
        results: Result of each finished run, see :meth:`.runs.Run.execute`.
    """

    row: Row
    results: list[dict]

    def statistic(self, measure: str) -> tuple[float, float | None] | None:
        """Give mean and sample deviation of a measure.

        Returns:
            None where nothing was measured; the deviation is None of a
            single run.
        """
        found = [r['metrics'].get(f'lt/{measure}') for r in self.results]
        found = [v for v in found if v is not None and not math.isnan(v)]
        if not found:
            return None
        deviation = statistics.stdev(found) if len(found) > 1 else None
        return statistics.fmean(found), deviation

    def verdict(self, measure: str) -> str:
        """Compare with the published value.

        Returns:
            ``'inside'``, ``'outside'``, ``'not published'`` or
            ``'not measured'``.
        """
        published = self.row.published.get(measure)
        if published is None:
            return 'not published'
        measured = self.statistic(measure)
        if measured is None:
            return 'not measured'
        # One decimal is published: the last bit must not decide.
        gap = abs(measured[0] - published)
        return 'inside' if gap <= MARGINS[measure] + 1e-9 else 'outside'

    def cell(self, measure: str) -> str:
        """Show measured and published value of a measure."""
        measured = self.statistic(measure)
        text = '-'
        if measured is not None:
            text = f'{measured[0]:.1f}'
            if measured[1] is not None:
                text += f' ± {measured[1]:.1f}'
        published = self.row.published.get(measure)
        if published is None:
            return text
        verdict = '' if measured is None else f', {self.verdict(measure)}'
        return f'{text} ({published:.1f}{verdict})'

    def learned(self) -> str:
        """Show the learned parameters of backbone and head."""
        if not self.results:
            return '-'
        sizes = self.results[0]
        return f'{sizes["learned_params"]:,} (+ {sizes["head_params"]:,})'


def header() -> list[str]:
    """Give the heads of the columns that :func:`cells` fills."""
    heads = list(MEASURES.values())
    return ['', *heads, 'learned (+ head)', 'runs', 'source']


def cells(line: Line) -> list[str]:
    """Give a row of the table as text."""
    return [
        line.row.name,
        *(line.cell(measure) for measure in MEASURES),
        line.learned(),
        str(len(line.results)),
        line.row.source or 'not published',
    ]


def markdown(table: Table, lines: list[Line]) -> str:
    """Write the table in Markdown."""
    rows = [header(), ['---'] * len(header()), *map(cells, lines)]
    body = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join(
        [f'# {table.title}', '', *body, '', NOTE, '', *_made(lines)]
    )


def _made(lines: list[Line]) -> list[str]:
    """Say when and with what the results were measured."""
    results = [result for line in lines for result in line.results]
    if not results:
        return []
    dates = sorted({result['date'] for result in results})
    machines = sorted({result['machine'] for result in results})
    versions: dict[str, set] = {}
    for result in results:
        for package, number in result['versions'].items():
            versions.setdefault(package, set()).add(number)
    packages = [f'{k} {" and ".join(sorted(v))}' for k, v in versions.items()]
    when = dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'
    return [f'{when}; {"; ".join(machines)}; {", ".join(packages)}.', '']


def csv_text(lines: list[Line]) -> str:
    """Write one line for each row and measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(
        'row config measure mean deviation runs published verdict '
        'source'.split()
    )
    for line in lines:
        for measure in MEASURES:
            mean, deviation = line.statistic(measure) or (None, None)
            writer.writerow(
                [
                    line.row.name,
                    line.row.config,
                    f'lt/{measure}',
                    mean,
                    deviation,
                    len(line.results),
                    line.row.published.get(measure),
                    line.verdict(measure),
                    line.row.source,
                ]
            )
    return out.getvalue()
