"""The report of a run: one HTML file."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from lift_mm.reproduce.record import write_whole

from .facts import Facts, check_testable, run_facts
from .files import run_files
from .page import page
from .zero_shot import zero_shot_facts

__all__ = [
    'Facts',
    'check_testable',
    'page',
    'run_facts',
    'to_json',
    'write_run_report',
    'zero_shot_facts',
]


def write_run_report(
    run: str | os.PathLike,
    out: str | os.PathLike | None = None,
    name: str | None = None,
    against: Sequence[tuple[str, str]] = (),
    zero_shot: bool = True,
) -> Path:
    """Test a run and write ``report.html`` and ``report.json``.

    Args:
        run: Its work directory, or one of its checkpoints.
        out: The HTML file; None is ``report.html`` in the work directory.
        name: Title; None is the name of the folder.
        against: Name and work directory of runs to compare with.
        zero_shot: Whether to compare with zero-shot CLIP, too.

    Returns:
        The HTML file.

    Raises:
        ValueError: A folder holds no run, or its config no test.
    """
    _, checkpoint = run_files(run)
    for _, other in against:  # before anything takes time
        run_files(other)
    path = Path(out) if out else checkpoint.parent / 'report.html'
    others = [zero_shot_facts(run)] if zero_shot else []
    others = [facts for facts in others if facts is not None]
    others += [run_facts(other, label) for label, other in against]
    facts = run_facts(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(facts, others))
    write_whole(path.with_suffix('.json'), to_json(facts))
    return path


def to_json(facts: Facts) -> str:
    """Give what a report says, without pictures and curves.

    Args:
        facts: The tested run.
    """
    content = dataclasses.asdict(facts)
    for key in ('worst', 'curves', 'config'):
        del content[key]
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'
