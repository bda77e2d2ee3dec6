"""Draw the pictures of the documentation.

``python docs/figures/make_figures.py`` writes all of them beside itself.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from blocks import (  # noqa: E402
    adapter,
    adaptformer,
    bitfit,
    block,
    lora,
    masked,
    sites,
    ssf,
    vpt,
)
from svg import Drawing, plot  # noqa: E402


def chain(*stages: tuple[str, str]) -> Drawing:
    """Draw boxes one after the other; ``(text, kind)`` each."""
    lines = max(text.count('\n') for text, _ in stages) + 1
    drawing = Drawing(540, 40 + 18 * lines)
    step = 540 / len(stages)
    y = 20 + 9 * lines
    for i, (text, kind) in enumerate(stages):
        x = step * (i + 0.5)
        if i:
            drawing.line([(x - step / 2 - 11, y), (x - step / 2 + 10, y)])
        drawing.box(x, y, step - 22, text, kind, 14 + 16 * lines)
    return drawing


def data_path() -> Drawing:
    """Draw the way of an image, in rows for narrow screens."""
    rows = (
        (('image list', 'plain'), ('dataset:\nnames, counts', 'plain'),
         ('transforms:\ncrop, uint8', 'plain')),
        (('preprocessor:\nnormalise', 'plain'),
         ('frozen ViT\nwith tuners', 'learned'),
         ('class token after\nthe last norm', 'plain')),
        (('cosine head', 'learned'), ('logits', 'plain'),
         ('loss: logits\n+ log prior', 'plain')),
    )  # fmt: skip
    drawing = Drawing(540, 316)
    xs, ys = (90, 270, 450), (40, 120, 200)
    for y, row in zip(ys, rows):
        for x, (text, kind) in zip(xs, row):
            drawing.box(x, y, 140, text, kind, 44)
        for x in xs[:2]:
            drawing.line([(x + 70, y), (x + 109, y)])
        if y < ys[-1]:
            drawing.line(
                [(450, y + 22), (450, y + 40), (90, y + 40), (90, y + 57)]
            )
    drawing.line([(270, 222), (270, 257)])
    drawing.box(
        270, 280, 220, 'test: mean over crops,\nmany, medium, few',
        'plain', 44,
    )  # fmt: skip
    drawing.text(530, 280, 'orange: learned', 'end', '#a84600')
    return drawing


def five_crops() -> Drawing:
    """Draw the crops of LIFT's ensembling, 224 of a 330 x 248 image."""
    drawing = Drawing(540, 216)
    drawing.parts.append(
        '<rect x="20" y="16" width="247.5" height="186" fill="#e7ecf2" '
        'stroke="#5b6b7d"/>'
    )
    for x, y in ((0, 0), (106, 0), (0, 24), (106, 24), (53, 12)):
        drawing.parts.append(
            f'<rect x="{20 + 0.75 * x:g}" y="{16 + 0.75 * y:g}" width="168" '
            'height="168" fill="#ffd9b8" fill-opacity="0.25" '
            'stroke="#c65200"/>'
        )
    for i, words in enumerate(
        ('short side: 224 + 24 pixels', 'five crops of 224 x 224:',
         'corners and centre', '', 'mean of the five logits')
    ):  # fmt: skip
        drawing.text(290, 50 + 22 * i, words, 'start')
    return drawing


# A tail of ten classes, from 1000 images to 10.
COUNTS = [1000 * 0.01 ** (i / 9) for i in range(10)]
LOG = [10 ** (1 + i / 40) for i in range(81)]
TICKS = (10, 100, 1000)


def by_count(label: str, **curves: Callable[[float], float]) -> Drawing:
    """Plot over the training images of a class."""
    named = {name.replace('_', ' '): f for name, f in curves.items()}
    return plot(
        named, LOG, math.log10, TICKS, ('training images of a class', label)
    )


def log_prior(tau: float) -> Callable[[float], float]:
    """Give what is added to the logit of a class of n images."""
    return lambda n: tau * math.log(n / sum(COUNTS))


def weight(raw: Callable[[float], float]) -> Callable[[float], float]:
    """Divide weights by their mean over the tail."""
    mean = sum(map(raw, COUNTS)) / len(COUNTS)
    return lambda n: raw(n) / mean


def effective(beta: float) -> Callable[[float], float]:
    """Give class-balanced weights."""
    return weight(lambda n: 1 / (1 - beta**n))


def focal() -> Drawing:
    """Plot focal loss over the probability of the own class."""
    shares = [0.02 + 0.0098 * i for i in range(101)]
    return plot(
        {'γ = 0': lambda p: -math.log(p),
         'γ = 2': lambda p: -((1 - p) ** 2) * math.log(p)},
        shares, float, (0.02, 0.5, 1), ('p of the own class', 'loss'),
    )  # fmt: skip


def lade() -> Drawing:
    """Plot LADE's regularised term of a class."""
    xs = [-4 + 0.1 * i for i in range(81)]
    return plot(
        {'b + 0.1 b²': lambda b: b + 0.1 * b * b, 'b': float},
        xs, float, (-4, 0, 4), ('b', 'term of a class'),
    )  # fmt: skip


FROZEN = 'frozen'
X = ('feature x', 'plain')
ROWS_BOX = ('W x\n(C rows)', 'learned')
UNIT_ROWS = ('rows of\nlength 1', 'learned')
FIGURES = {
    'adaptformer': adaptformer,
    'adapter': adapter,
    'lora': lora,
    'ssf': ssf,
    'vpt': vpt,
    'masked_tuning': masked,
    'bitfit': bitfit,
    'norm_tuning': lambda: block(('norm1', 'norm2')),
    'full_tuning': lambda: block(
        ('norm1', 'qkv', 'proj', 'norm2', 'fc1', 'fc2')
    ),
    'sites': sites,
    'data_path': data_path,
    'cosine_head': lambda: chain(
        X, ('length 1', 'plain'), UNIT_ROWS, ('· s', 'plain'),
        ('logits', 'plain'),
    ),
    'linear_head': lambda: chain(
        X, ROWS_BOX, ('+ b', 'learned'), ('logits', 'plain')
    ),
    'l2norm_head': lambda: chain(X, UNIT_ROWS, ('logits', 'plain')),
    'layernorm_head': lambda: chain(
        X, ('LN without\nγ, β', 'plain'), UNIT_ROWS, ('logits', 'plain')
    ),
    'semantic_init': lambda: chain(
        ('“a photo of\na fox.”', 'plain'), ('text tower', FROZEN),
        ('t', 'plain'), ('t Pᵀ', FROZEN), ('length 1:\nrow', 'learned'),
    ),
    'class_mean_init': lambda: chain(
        ('images of\na class', 'plain'), ('frozen ViT', FROZEN),
        ('mean of the\nfeatures', 'plain'), ('length 1:\nrow', 'learned'),
    ),
    'linear_probe_init': lambda: chain(
        ('all images', 'plain'), ('frozen ViT', FROZEN),
        ('logistic\nregression', 'plain'), ('length 1:\nrows', 'learned'),
    ),
    'five_crops': five_crops,
    'logit_adjusted_loss': lambda: by_count(
        'added to the logit', **{f'τ = {t}': log_prior(t) for t in (1, 0.5, 2)}
    ),
    'balanced_softmax_loss': lambda: by_count(
        'added to the logit', shift=log_prior(1)
    ),
    'lade_loss': lade,
    'ldam_loss': lambda: by_count(
        'margin', margin=lambda n: 0.5 * (n / min(COUNTS)) ** -0.25
    ),
    'class_balanced_loss': lambda: by_count(
        'weight', **{f'β = {b}': effective(b) for b in (0.9999, 0.999, 0.99)}
    ),
    'generalized_reweight_loss': lambda: by_count(
        'weight',
        **{f'ρ = {e:g}': weight(lambda n, e=e: n**-e) for e in (1, 0.5)},
    ),
    'softmax_focal_loss': focal,
}  # fmt: skip


def main() -> None:
    for name, draw in FIGURES.items():
        draw().save(HERE / f'{name}.svg')


if __name__ == '__main__':
    main()
