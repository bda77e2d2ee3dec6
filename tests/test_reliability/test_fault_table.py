"""Every row of the fault table is a test, and that test exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / 'docs' / 'reliability.md').read_text()
ROWS = [
    [cell.strip() for cell in line.strip('|').split(' | ')]
    for line in TEXT.splitlines()
    if line.startswith('| ') and not line.startswith('| fault |')
]


def functions(path: str) -> set:
    tree = ast.parse((ROOT / path).read_text())
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_row(row):
    assert len(row) == 4 and all(row)
    tests = re.findall(r'`(tests/\w+(?:/\w+)*\.py)::(test_\w+)`', row[3])
    assert tests
    for path, name in tests:
        assert name in functions(path), f'{path}::{name}'


def test_the_table_is_found():
    assert len(ROWS) > 20
