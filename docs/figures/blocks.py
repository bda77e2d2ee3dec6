"""A transformer block, and what each tuner adds to it."""

from svg import Drawing

COLUMNS = (80, 170, 260, 350)
ROWS = {'attn': 66, 'mlp': 206}
SITES = {
    'norm1': ('LN', COLUMNS[0], 'attn'),
    'qkv': ('qkv', COLUMNS[1], 'attn'),
    'attn': ('attn.', COLUMNS[2], 'attn'),
    'proj': ('proj', COLUMNS[3], 'attn'),
    'norm2': ('LN', COLUMNS[0], 'mlp'),
    'fc1': ('fc1', COLUMNS[1], 'mlp'),
    'act': ('act.', COLUMNS[2], 'mlp'),
    'fc2': ('fc2', COLUMNS[3], 'mlp'),
}
SUM = 470


def block(
    learned: tuple[str, ...] = (), names: bool = False, below: int = 0
) -> Drawing:
    """Draw a pre-norm transformer block, attention above, MLP below.

    Args:
        learned: Sites that learn.
        names: Whether norms have the names of their sites.
        below: Pixels to leave below the MLP.
    """
    drawing = Drawing(540, 236 + below)
    for row, (into, out) in {
        'attn': ('x', 'h'),
        'mlp': ('h', "x'"),
    }.items():
        y = ROWS[row]
        drawing.text(12, y, into)
        drawing.line([(20, y), (SUM - 10, y)])
        drawing.line([(36, y), (36, y - 38), (SUM, y - 38), (SUM, y - 10)])
        drawing.line([(SUM + 10, y), (514, y)])
        drawing.text(526, y, out)
        drawing.plus(SUM, y)
    for site, (text, x, row) in SITES.items():
        kind = 'learned' if site in learned else 'frozen'
        text = site if names and text == 'LN' else text
        drawing.box(x, ROWS[row], 56, text, kind)
    return drawing


def adaptformer() -> Drawing:
    """Draw the branch beside the MLP."""
    drawing = block(below=46)
    y = ROWS['mlp']
    drawing.line([(36, y), (36, y + 50), (SUM, y + 50), (SUM, y + 11)])
    for x, text in zip(
        (80, 150, 225, 300, 375), ('LN', 'D → r', 'ReLU', 'r → D', '· s')
    ):
        drawing.box(x, y + 50, 56, text, 'learned')
    return drawing


def adapter() -> Drawing:
    """Draw the bottleneck behind the MLP."""
    drawing = block(below=46)
    y = ROWS['mlp']
    points = [(390, y), (390, y + 50), (434, y + 50), (434, y + 10)]
    drawing.line(points)
    drawing.box(350, y + 50, 250, 'LN,  D → r,  ReLU,  r → D', 'learned')
    drawing.plus(434, y, 'learned')
    return drawing


def lora() -> Drawing:
    """Draw the low-rank update of query and value."""
    drawing = block()
    y = ROWS['attn']
    drawing.line([(120, y), (120, y + 50), (216, y + 50), (216, y + 10)])
    drawing.box(168, y + 50, 74, 'A B / r', 'learned')
    drawing.text(228, y + 50, 'of q and of v', 'start')
    drawing.plus(216, y, 'learned')
    return drawing


def ssf() -> Drawing:
    """Draw scale and shift behind layers."""
    drawing = block()
    for x in (215, 402):
        for row in ROWS.values():
            drawing.box(x, row, 24, 'γβ', 'learned')
    return drawing


def vpt() -> Drawing:
    """Draw the tokens in front of a block."""
    drawing = block()
    y = ROWS['attn'] + 56
    for i in range(8):
        kind = 'learned' if i > 5 else 'frozen'
        drawing.square(46 + 20 * i, y, 16, kind)
    drawing.line([(30, y), (22, y), (22, y - 48)])
    drawing.text(204, y, 'class token, patches, p learned tokens', 'start')
    return drawing


def masked() -> Drawing:
    """Draw layers of which some entries learn."""
    drawing = block()
    for site in ('qkv', 'proj', 'fc1', 'fc2'):
        _, x, row = SITES[site]
        for dx, dy in ((-22, -9), (-6, 10), (14, -10), (22, 9), (-22, 8)):
            drawing.square(x + dx, ROWS[row] + dy, 6, 'learned')
    return drawing


def bitfit() -> Drawing:
    """Draw the biases."""
    drawing = block(below=16)
    for site in ('norm1', 'qkv', 'proj', 'norm2', 'fc1', 'fc2'):
        _, x, row = SITES[site]
        drawing.box(x, ROWS[row] + 24, 56, 'bias', 'learned', 18)
    return drawing


def sites() -> Drawing:
    """Draw where each tuner attaches."""
    drawing = block(names=True, below=36)
    notes = {
        'attn': (
            (10, 'VPT:', 'tokens'),
            (128, 'LoRA: q k v', 'Masked, SSF'),
            (316, 'LoRA: out', 'Masked, SSF'),
        ),
        'mlp': (
            (10, 'AdaptFormer', "reads h, adds to x'"),
            (150, 'LoRA: fc1', 'Masked, SSF'),
            (316, 'LoRA: fc2, Masked,', 'SSF, Adapter'),
        ),
    }
    for row, texts in notes.items():
        for x, *lines in texts:
            for i, words in enumerate(lines):
                y = ROWS[row] + 32 + 17 * i
                drawing.text(x, y, words, 'start', '#a84600')
    return drawing
