"""Write ``tools.md``, the page of all tools and what their --help says.

``python docs/make_tools.py`` after a change of a tool; a test compares.
"""

import contextlib
import io
import os
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'tools.md'
# No tool of its own: the first is started by another one.
PARTS = ('first_step.py',)
GROUPS = {
    'tools': 'Training and testing',
    'tools/dataset_converters': 'Data',
    'tools/model_converters': 'Models',
    'tools/analysis_tools': 'Analysis',
    'tools/benchmarks': 'Benchmarks',
}
HEAD = """# Tools

<!-- Written by docs/make_tools.py: change that, or the tools. -->

Run from the root of the repository. `--cfg-options` works as in mmengine.
For several processes see [many GPUs](many_gpus.md).
"""


def tools() -> list[Path]:
    """Give the programs with options, group by group."""
    found = [
        path
        for group in GROUPS
        for path in sorted((ROOT / group).glob('*.py'))
        if 'ArgumentParser' in path.read_text() and path.name not in PARTS
    ]
    return [*found, ROOT / 'lift_mm' / 'recommend' / '__main__.py']


def help_of(path: Path) -> str:
    """Give what a program says to --help; it runs in this process.

    Args:
        path: The program.

    Raises:
        RuntimeError: It does something else.
    """
    sys.argv = [path.name, '--help']
    sys.path.insert(0, str(path.parent))
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            if path.name == '__main__.py':
                runpy.run_module('lift_mm.recommend', run_name='__main__')
            else:
                runpy.run_path(str(path), run_name='__main__')
    except SystemExit as end:
        if not end.code:
            # Before Python 3.13 a metavar follows each spelling.
            twice = r'(--?[\w-]+) [A-Z_]+, (?=--)'
            return re.sub(twice, r'\1, ', text.getvalue().strip())
    raise RuntimeError(f'{path} has no --help.')


def page() -> str:
    """Give the text of the page."""
    parts = [HEAD]
    group = None
    for path in tools():
        folder = path.parent.relative_to(ROOT).as_posix()
        name = f'{folder}/{path.name}'
        if path.name == '__main__.py':
            folder, name = 'module', 'python -m lift_mm.recommend'
        if folder != group:
            group = folder
            title = GROUPS.get(folder, 'A config for a folder of images')
            parts.append(f'## {title}\n')
        parts.append(f'### `{name}`\n\n```text\n{help_of(path)}\n```\n')
    return '\n'.join(parts)


if __name__ == '__main__':
    os.environ.update(COLUMNS='80', NO_COLOR='1')
    PAGE.write_text(page())
