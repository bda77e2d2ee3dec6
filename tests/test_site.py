"""The documentation builds without a warning, and its links lead somewhere."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from miniature import REPO

from lift_mm.models import heads, inits, losses
from lift_mm.registry import TUNERS

DOCS = REPO / 'docs'


class Links(HTMLParser):
    """Anchors of a page, and where it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        for key, value in attrs:
            if key == 'id':
                self.anchors.add(value)
            if key in ('href', 'src') and value:
                self.targets.append(value)


@cache
def links_of(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text())
    return links


def broken(page: Path) -> list[str]:
    """Give the local links of a page that lead nowhere."""
    found = []
    for target in links_of(page).targets:
        url = urlsplit(target)
        if url.scheme or url.netloc:
            continue
        path = unquote(url.path)
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            found.append(target)
        elif url.fragment and there.suffix == '.html':
            if unquote(url.fragment) not in links_of(there).anchors:
                found.append(target)
    return found


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    reason = "the site needs what pip install 'lift_mm[docs]' brings"
    for name in ('sphinx', 'myst_parser', 'furo', 'latex2mathml'):
        pytest.importorskip(name, reason=reason)
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-b', 'html', '-c', 'docs']
    command += ['-W', '--keep-going', '-q', '.', str(folder)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_links(site):
    pages = list(site.rglob('*.html'))
    wrong = {page.relative_to(site).as_posix(): broken(page) for page in pages}
    assert len(pages) > 25
    assert not {page: links for page, links in wrong.items() if links}


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / 'page.html'
    page.write_text('<a id="a" href="#a"></a><a href="#b"></a><a href="c">')
    assert broken(page) == ['#b', 'c']


def test_all_pages_are_in_the_table_of_contents(site):
    index = (site / 'docs' / 'index.html').read_text()
    for page in DOCS.glob('*.md'):
        assert page.stem == 'index' or f'{page.stem}.html' in index


def test_nothing_comes_from_the_network(site):
    page = (site / 'docs' / 'methods.html').read_text()
    assert '<math' in page
    loads = re.findall(r'<(?:script|img)[^>]* src="([^"]*)"', page)
    loads += re.findall(
        r'<link[^>]*rel="stylesheet"[^>]* href="([^"]*)"', page
    )
    assert loads and not [url for url in loads if '//' in url]


def test_the_start_leads_to_the_first_page(site):
    assert 'url=docs/index.html' in (site / 'index.html').read_text()


def test_tools_are_as_the_page_says():
    code = 'import make_tools; print(make_tools.page())'
    run = subprocess.run(
        [sys.executable, '-c', code],
        cwd=DOCS,
        env={**os.environ, 'COLUMNS': '80', 'NO_COLOR': '1'},
        capture_output=True,
        text=True,
    )
    absent = re.search(r"No module named '(?!lift_mm)(\w+)'", run.stderr)
    if absent:
        pytest.skip(f'a tool needs an extra of setup.cfg: no {absent[1]}')
    assert run.returncode == 0, run.stderr
    # Words: versions of Python break the lines of a usage in other places.
    known = (DOCS / 'tools.md').read_text().split()
    assert run.stdout.split() == known, 'run `python docs/make_tools.py`'


def test_pictures_are_those_of_the_script(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / 'figures'))
    import make_figures

    monkeypatch.setattr(make_figures, 'HERE', tmp_path)
    make_figures.main()
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    figures = (DOCS / 'figures').glob('*.svg')
    assert drawn == {path.name: path.read_text() for path in figures}


def test_every_part_has_a_picture():
    text = (DOCS / 'methods.md').read_text()
    headings = re.findall(r'^### (\w+)', text, re.MULTILINE)
    # Bases of others have none, and texts are explained elsewhere.
    parts = {*heads.__all__, *inits.__all__, *losses.__all__}
    parts |= {
        name
        for name, part in TUNERS.module_dict.items()
        if part.__module__.startswith('lift_mm.')
    }
    parts -= {'LongTailHead', 'LongTailLoss', 'ClassCountLoss', 'TextHead'}
    assert set(headings) == parts
    for name in re.findall(r'\(figures/(\w+\.svg)\)', text):
        assert (DOCS / 'figures' / name).exists()
    assert text.count('](figures/') == len(headings) + 1


def message_patterns() -> list[str]:
    """Give every message that the package raises, as regular expression."""
    found = []
    for path in (REPO / 'lift_mm').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Raise) and node.exc):
                continue
            for part in ast.walk(node.exc):
                if isinstance(part, ast.JoinedStr):
                    parts = part.values
                elif isinstance(part, ast.Constant):
                    parts = [part]
                else:
                    continue
                texts = [
                    re.escape(str(p.value))
                    if isinstance(p, ast.Constant)
                    else '.*?'
                    for p in parts
                ]
                plain = ''.join(t for t in texts if t != '.*?')
                if len(plain) > 40:  # else it would match anything
                    found.append(''.join(texts))
    return found


def test_messages_are_those_of_the_source():
    text = (DOCS / 'troubleshooting.md').read_text()
    messages = re.findall(r'^> ``(.*)``$', text, re.MULTILINE)
    patterns = message_patterns()
    unknown = [
        message
        for message in messages
        if not any(re.fullmatch(p, message) for p in patterns)
    ]
    assert len(messages) > 25 and not unknown
