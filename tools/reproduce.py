"""Run a table of the papers, or your own, and compare with what is published.

Each row is trained and tested by ``tools/train.py`` and ``tools/test.py`` for
each seed. What is finished is not run again, what was cut off is resumed, and
a failed run does not stop the others. The table is shown, and written to the
work directory as Markdown and CSV.
"""

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

# Repairs what a current environment needs, hence before any config is read.
from lift_mm.reproduce import report
from lift_mm.reproduce.at_hand import data, weights
from lift_mm.reproduce.published import TABLES
from lift_mm.reproduce.record import write_whole
from lift_mm.reproduce.runs import Run, read_config
from lift_mm.reproduce.tables import Row, Table, read_table

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'table',
        nargs='?',
        help='a name that --list shows, or a JSON file with a table of your '
        'own: {"title": ..., "rows": [{"name": ..., "config": ...}]}',
    )
    parser.add_argument(
        '--list',
        action='store_true',
        help='show the tables, and whether data and weights are at hand',
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4]
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/reproduce',
        help='folder of all runs and of the tables',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='show the commands that are left',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        help='GPUs for each run, which share the batch of the config',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings for every config of the table, as for tools/train.py',
    )
    args = parser.parse_args()
    if args.table is None and not args.list:
        parser.exit(
            2, 'error: give a table, or --list to see which there are\n'
        )
    if args.gpus < 1:
        parser.exit(2, f'error: --gpus {args.gpus} is below 1\n')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.exit(
            2, f'error: --seeds {args.seeds} must differ and be at least 0\n'
        )
    known = args.table is None or args.table in TABLES
    if not known and not Path(args.table).is_file():
        parser.exit(
            2,
            f'error: "{args.table}" is neither a file nor a table; tables: '
            f'{", ".join(TABLES)}\n',
        )
    return args


def chosen(name: str) -> Table:
    """Give a table by its name or file."""
    return TABLES[name] if name in TABLES else read_table(Path(name))


def unpack_demo() -> None:
    """Unpack the embedded images."""
    sys.path.insert(0, str(ROOT / 'tools'))
    import demo

    demo.unpack()


def needs(row: Row) -> str:
    """Say in a few words whether a row can be run here."""
    try:
        cfg = read_config(ROOT / row.config, row.options)
    except ValueError as error:
        return str(error)
    return f'data {data(cfg, ROOT)[0]}; weights {weights(cfg, ROOT)}'


def show_list(tables: dict[str, Table]) -> None:
    """Print tables, their configs and what these need."""
    for name, table in tables.items():
        print(f'{name}: {table.title}')
        rows = {}
        for row in table.rows:
            rows.setdefault((row.config, row.options), []).append(row)
        for (config, options), same in rows.items():
            names = '; '.join(row.name for row in same)
            print(f'  {" ".join([config, *options])}  ({names})')
            status = 'embedded' if name == 'demo' else needs(same[0])
            print(f'    {status}', flush=True)


def plan(table: Table, args: argparse.Namespace) -> tuple[list[Run], list]:
    """Give the runs of a table, and what cannot be run."""
    runs, failed = [], {}
    # Seed by seed: an early table has every row.
    for seed in args.seeds:
        for row in table.rows:
            # Without a training no seed matters.
            if row.name in failed or not (row.trains or seed == args.seeds[0]):
                continue
            try:
                run = Run(
                    row,
                    seed,
                    ROOT,
                    Path(args.work_dir).resolve(),
                    args.gpus,
                    args.cfg_options,
                )
            except ValueError as error:
                failed[row.name] = str(error)
                continue
            runs.append(run)
    return runs, list(failed.items())


def execute(runs: list[Run]) -> list[tuple[str, str]]:
    """Run what is left, and give what failed."""
    failed, untrained = [], set()
    for number, run in enumerate(runs, 1):
        state = run.state()
        print(f'[{number}/{len(runs)}] {run.title}: {state}', flush=True)
        if state == 'finished':
            continue
        if run.row.trains and run.folder in untrained:
            failed.append((run.title, 'its training failed, see above'))
            continue
        where, lacking = data(run.cfg, ROOT)
        if lacking:
            failed.append((run.title, f'its data {where}'))
            continue
        print(f'  logs in {run.folder}', flush=True)
        begin = time.time()
        try:
            metrics = run.execute()['metrics']
        except RuntimeError as error:
            failed.append((run.title, str(error)))
            if run.state() in ('new', 'cut off'):
                untrained.add(run.folder)
            print('  failed', flush=True)
            continue
        seconds = time.time() - begin
        shown = [f'{k} {v:.1f}' for k, v in metrics.items() if k == 'lt/acc']
        print(f'  {"".join(shown)} in {seconds:.0f} s', flush=True)
    return failed


def show(table: Table, lines: list[report.Line]) -> None:
    """Print the table."""
    shown = RichTable(title=table.title)
    for index, head in enumerate(report.header()):
        shown.add_column(head, justify='right' if 0 < index < 7 else 'left')
    for line in lines:
        shown.add_row(*report.cells(line))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(shown)
    console.print(report.NOTE)


def main() -> int:
    args = parse_args()
    if args.list:
        tables = {args.table: chosen(args.table)} if args.table else TABLES
        show_list(tables)
        return 0
    table = chosen(args.table)
    # Killed by a scheduler: stop the running command, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.table == 'demo' and not args.dry_run:
        unpack_demo()
    runs, failed = plan(table, args)
    if args.dry_run:
        shown = set()
        for run in runs:
            print(f'# {run.title}: {run.state()}')
            commands = map(shlex.join, run.commands().values())
            for command in commands:
                if command not in shown:  # rows share trainings
                    print(command)
                shown.add(command)
    else:
        failed += execute(runs)
        lines = [
            report.Line(
                row,
                [
                    result
                    for run in runs
                    if run.row is row and (result := run.result())
                ],
            )
            for row in table.rows
        ]
        work = Path(args.work_dir)
        work.mkdir(parents=True, exist_ok=True)
        stem = Path(args.table).stem
        write_whole(work / f'{stem}.md', report.markdown(table, lines))
        write_whole(work / f'{stem}.csv', report.csv_text(lines))
        print()
        show(table, lines)
        print(f'Written: {work / stem}.md and .csv')
    for title, reason in failed:
        print(f'FAILED {title}: {reason}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
