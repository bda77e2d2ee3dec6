"""Formulas as MathML, which browsers draw without scripts or network."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def inline(self, node: nodes.math) -> None:
    """Write a formula of a line."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(self, node: nodes.math_block) -> None:
    """Write a formula that stands by itself; a wide one scrolls."""
    formula = convert(node.astext(), display='block')
    self.body.append(f'<div style="overflow-x: auto">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    """Register the renderer."""
    app.add_html_math_renderer('mathml', (inline, None), (display, None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
