"""Settings of the documentation; ``make docs`` builds it.

The source folder is the root of the repository, so that the README, the
configs' and demo's READMEs and these pages link to each other by the same
relative links here and on a code host.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from mmcv.transforms.utils import cache_randomness

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

project = 'lift_mm'
author = 'The lift_mm authors'
copyright = '2026, the lift_mm authors. Apache-2.0'
release = version_of('lift_mm')

root_doc = 'docs/index'
include_patterns = [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'configs/**/README.md',
    'demo/README.md',
    'docs/*.md',
]
# Folders that a walk through the root need not enter.
exclude_patterns = ['.*', 'data', 'work_dirs', 'build', 'docs/_build']

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'mathml',
]
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 4
html_math_renderer = 'mathml'

autodoc_member_order = 'bysource'
maximum_signature_line_length = 60

html_theme = 'furo'
html_title = f'lift_mm {release}'
html_additional_pages = {'index': 'to_the_first_page.html'}
templates_path = ['templates']
html_copy_source = False


def read_draw(self, transform, kind):
    """Give a cached draw of mmcv, also through the class."""
    return self if transform is None else _read(self, transform, kind)


# It makes a weak reference to None when a class is looked at.
_read = cache_randomness.__get__
cache_randomness.__get__ = read_draw
