"""A few shapes in SVG: boxes, arrows, texts and curves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

# Fill and line. What learns is orange; told apart by the colour-blind, too.
COLOURS = {
    'frozen': ('#e7ecf2', '#5b6b7d'),
    'learned': ('#ffd9b8', '#c65200'),
    'plain': ('#ffffff', '#5b6b7d'),
}
# Okabe and Ito's, and a dash pattern for print.
CURVES = (('#0072b2', ''), ('#d55e00', '6 3'), ('#007a5a', '2 2'))
INK = '#26323f'


class Drawing:
    """A picture of ``width`` x ``height`` pixels with a white ground."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, w: float, text: str, kind: str, h: float = 30
    ) -> None:
        """Draw a box around (x, y) with a text of one or more lines."""
        fill, line = COLOURS[kind]
        self.parts.append(
            f'<rect x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w:g}" '
            f'height="{h:g}" rx="4" fill="{fill}" stroke="{line}"/>'
        )
        lines = text.split('\n')
        for i, words in enumerate(lines):
            self.text(x, y + 15 * (i - (len(lines) - 1) / 2), words)

    def plus(self, x: float, y: float, kind: str = 'plain') -> None:
        """Draw a sum at (x, y)."""
        fill, line = COLOURS[kind]
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="9" fill="{fill}" '
            f'stroke="{line}"/>'
        )
        self.text(x, y, '+')

    def square(self, x: float, y: float, side: float, kind: str) -> None:
        """Draw a square around (x, y)."""
        self.box(x, y, side, '', kind, side)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        anchor: str = 'middle',
        colour: str = INK,
    ) -> None:
        """Write at (x, y), the middle of the line."""
        if words:
            self.parts.append(
                f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="{anchor}" '
                f'fill="{colour}">{escape(words)}</text>'
            )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        arrow: bool = True,
        colour: str = INK,
        dash: str = '',
        width: float = 1.3,
    ) -> None:
        """Draw a line through points, with an arrow head at its end."""
        path = ' '.join(f'{x:.4g},{y:.4g}' for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ''
        head = ' marker-end="url(#head)"' if arrow else ''
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="{width:g}"{dashes}{head}/>'
        )

    def save(self, path: Path) -> None:
        """Write the picture."""
        size = f'{self.width} {self.height}'
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
            f'width="{self.width}" height="{self.height}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="13">\n'
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>\n'
            '<rect width="100%" height="100%" rx="6" fill="#ffffff"/>\n'
            + '\n'.join(self.parts)
            + '\n</svg>\n',
            encoding='utf-8',
        )


def plot(
    curves: dict[str, Callable[[float], float]],
    xs: Sequence[float],
    place: Callable[[float], float],
    ticks: Sequence[float],
    labels: tuple[str, str],
) -> Drawing:
    """Draw curves over one axis.

    Args:
        curves: Function of x by its name in the legend.
        xs: Where they are computed, ascending.
        place: Maps x to where it lies on the axis (log10, or itself).
        ticks: Values of x to write at the axis.
        labels: Of the two axes.
    """
    drawing = Drawing(420, 230)
    left, right, top, bottom = 56, 404, 20 + 16 * len(curves), 180
    values = {name: [f(x) for x in xs] for name, f in curves.items()}
    low = min(0.0, *(v for ys in values.values() for v in ys))
    high = max(0.0, *(v for ys in values.values() for v in ys))
    first, last = place(xs[0]), place(xs[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        share = (place(x) - first) / (last - first)
        up = (y - low) / (high - low)
        return left + share * (right - left), bottom - up * (bottom - top)

    drawing.line([(left, top), (left, bottom), (right, bottom)], arrow=False)
    for x in ticks:
        drawing.text(at(x, low)[0], bottom + 14, f'{x:g}')
    for y in (low, high):
        drawing.text(left - 6, at(xs[0], y)[1], f'{y:.3g}', 'end')
    drawing.text((left + right) / 2, bottom + 34, labels[0])
    drawing.text(8, 14, labels[1], 'start')
    for i, ((name, ys), style) in enumerate(zip(values.items(), CURVES)):
        colour, dash = style
        points = [at(x, y) for x, y in zip(xs, ys)]
        drawing.line(points, False, colour, dash, 2)
        if len(curves) > 1:
            drawing.text(right, 14 + 16 * i, name, 'end', colour)
    return drawing
