"""Put runs side by side: a table, CSV, LaTeX and a picture.

A run whose ``report.json`` is as new as its checkpoint is not tested again.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import lift_mm  # noqa: F401, before any config is read
from lift_mm.analysis.compare import (
    MEASURES,
    comparison,
    comparison_plot,
    to_csv,
    to_latex,
)
from lift_mm.analysis.run_report import run_facts, to_json
from lift_mm.analysis.run_report.files import run_files
from lift_mm.clip.names import printable


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='RUN',
        help='a work directory or a checkpoint in it; NAME=RUN gives a name',
    )
    parser.add_argument(
        '--out',
        default='work_dirs/comparison',
        help='writes OUT.csv, OUT.tex and OUT.png',
    )
    return parser.parse_args(args)


def read_report(run: str, name: str) -> dict:
    """Give what the report of a run says, testing it where needed."""
    _, checkpoint = run_files(run)
    path = checkpoint.parent / 'report.json'
    if path.is_file() and path.stat().st_mtime >= checkpoint.stat().st_mtime:
        report = json.loads(path.read_text(encoding='utf-8'))
        if Path(report['checkpoint']).name == checkpoint.name:
            return report
    return json.loads(to_json(run_facts(run, name)))


def show(rows: list[dict]) -> None:
    """Print the table."""
    table = Table()
    table.add_column('run')
    for head in ('learned (+ head)', *MEASURES.values()):
        table.add_column(head, justify='right')
    for row in rows:
        learned = f'{row["learned_params"]:,} (+ {row["head_params"]:,})'
        values = ['-' if row[k] is None else f'{row[k]:.1f}' for k in MEASURES]
        table.add_row(Text(printable(row['run'])), learned, *values)
    Console(width=120).print(table)


def main(args=None) -> None:
    args = parse_args(args)
    named = {}
    for run in args.runs:
        name, equals, path = run.partition('=')
        if not equals or Path(run).exists():
            name, path = Path(run).name, run
        if name in named:
            raise ValueError(
                f'Two runs are called {name!r}: name them, NAME=RUN (argument '
                '`RUN`).'
            )
        run_files(path)  # before anything takes time
        named[name] = path
    rows = comparison({n: read_report(path, n) for n, path in named.items()})
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    Path(f'{out}.csv').write_text(to_csv(rows), encoding='utf-8')
    Path(f'{out}.tex').write_text(to_latex(rows), encoding='utf-8')
    Path(f'{out}.png').write_bytes(comparison_plot(rows))
    show(rows)
    print(f'Written: {out}.csv, .tex and .png')


if __name__ == '__main__':
    main()
