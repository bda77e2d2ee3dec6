"""Commands and code in the README and the documents are possible."""

import ast
import importlib
import json
import re
import runpy
import shlex
from configparser import ConfigParser

import pytest
from miniature import REPO
from mmengine.config import Config

PAGES = sorted(
    path.relative_to(REPO).as_posix()
    for pattern in ('*.md', 'docs/*.md', 'demo/*.md', 'configs/*/README.md')
    for path in REPO.glob(pattern)
)
HELP = (REPO / 'docs' / 'tools.md').read_text()


def blocks(page: str, *languages: str) -> list[str]:
    """Give the code blocks of a page; those in lists are indented."""
    text = (REPO / page).read_text()
    pattern = rf'^( *)```({"|".join(languages)})\n(.*?)^\1```'
    found = re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    return [
        re.sub(f'^{indent}', '', code, flags=re.MULTILINE)
        for indent, _, code in found
    ]


def commands(page: str) -> list[list[str]]:
    """Give the commands of a page, without assignments in front of them."""
    lines = [
        line
        for block in blocks(page, 'bash', 'shell')
        for line in block.replace('\\\n', ' ').splitlines()
    ]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
            words = words[1:]
        if words and words[0] == 'srun':
            words = words[1:]
        if words:
            found.append(words)
    return found


def help_of(program: str) -> str | None:
    """Give what the page of tools says about a program."""
    match = re.search(
        rf'### `{re.escape(program)}`\n\n```text\n(.*?)```', HELP, re.DOTALL
    )
    return match and match[1]


def why_impossible(words: list[str]) -> str | None:
    """Say what a command names that is not there."""
    program, *rest = words
    program = program.removeprefix('.venv/bin/')
    if program == 'make':
        makefile = (REPO / 'Makefile').read_text()
        absent = [
            name
            for name in rest
            if '=' not in name and f'\n{name}:' not in makefile
        ]
        return absent[0] if absent else None
    if program == 'pip':
        extras = re.findall(r'\[(.*?)\]', ' '.join(rest))
        parser = ConfigParser()
        parser.read(REPO / 'setup.cfg')
        known = parser['options.extras_require']
        names = [name for group in extras for name in group.split(',')]
        absent = [name for name in names if name not in known]
        return absent[0] if absent else None
    if program not in ('python', 'bash'):
        return None
    if rest[0] == '-m':
        if not rest[1].startswith('lift_mm'):
            return None
        program, rest = f'python -m {rest[1]}', rest[2:]
        if help_of(program) is None:
            return program
    else:
        program, rest = rest[0], rest[1:]
        if program.startswith('my_'):  # a file that the page shows
            return None
        if not (REPO / program).is_file():
            return program
    configs = [w for w in rest if w.startswith(('configs/', 'demo/'))]
    absent = [w for w in configs if w.endswith('.py')]
    absent = [w for w in absent if '{' not in w and not (REPO / w).exists()]
    if absent:
        return absent[0]
    text = help_of(program)
    if text is None:
        return None
    flags = re.findall(r'(?<!\S)--[\w-]+', ' '.join(rest))
    known = re.findall(r'--[\w-]+', text)
    absent = [flag for flag in flags if flag not in known]
    return absent[0] if absent else None


@pytest.mark.parametrize('page', PAGES)
def test_commands(page):
    wrong = {' '.join(w): why_impossible(w) for w in commands(page)}
    assert not {line: what for line, what in wrong.items() if what}


@pytest.mark.parametrize(
    'line, what',
    [
        ('python tools/tarin.py CONFIG', 'tools/tarin.py'),
        ('python tools/train.py CONFIG --resum', '--resum'),
        ('python tools/train.py configs/lift/x.py', 'configs/lift/x.py'),
        ('make demos', 'demos'),
        ("pip install -e '.[tests]'", 'tests'),
    ],
)
def test_a_wrong_command_is_seen(line, what):
    assert why_impossible(shlex.split(line)) == what


def test_python():
    for page in PAGES:
        for block in blocks(page, 'python'):
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and not node.level:
                    module = importlib.import_module(node.module)
                    for name in node.names:
                        assert hasattr(module, name.name), (page, name.name)


@pytest.mark.parametrize('page', PAGES)
def test_configs(page, tmp_path):
    for number, block in enumerate(blocks(page, 'python')):
        if '_base_' in block and 'import ' not in block:
            path = tmp_path / f'block_{number}.py'
            path.write_text(block.replace("'configs/", f"'{REPO}/configs/"))
            assert 'type' in Config.fromfile(path).model


def test_json():
    for page in PAGES:
        for block in blocks(page, 'json'):
            json.loads(block)


def test_combine_runs(tmp_path, capsys):
    found = blocks('docs/combine.md', 'python')
    path = tmp_path / 'combine.py'
    path.write_text('\n'.join(b for b in found if '_base_' not in b))
    names = runpy.run_path(str(path))
    assert 'torch.Size([2, 100])' in capsys.readouterr().out
    assert names['metric'].class_counts == [500, 50, 5]
