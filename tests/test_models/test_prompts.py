"""Learned words of prompts, and where they stand."""

import open_clip
import pytest
import torch
from parity_models import ARCH, clip_file

from lift_mm.models import CLIPText, CoOp
from lift_mm.models.prompts import context_positions, context_template
from lift_mm.models.text_tokens import tokenize

NAMES = ['fox', 'great white shark', "jack-o'-lantern", 'St.', 'C++ book']
TOKENIZER = open_clip.SimpleTokenizer()
X = TOKENIZER.encode('X')[0]
TINY = dict(
    embed_dim=8,
    vision_cfg=dict(image_size=8, layers=1, width=64, patch_size=8),
    text_cfg=dict(width=8, heads=1, layers=1),
)


@pytest.fixture(scope='module')
def text():
    torch.manual_seed(0)
    return CLIPText(TINY)


@pytest.mark.parametrize(
    'length, position, template',
    [
        (4, 'end', 'X X X X {}.'),
        (4, 'front', '{} X X X X.'),
        (4, 'middle', 'X X {} X X.'),
        (3, 'middle', 'X {} X X.'),
        (1, 'middle', '{} X.'),
        (1, 'end', 'X {}.'),
    ],
)
def test_places(text, length, position, template):
    """Placeholders are where a search for them finds them."""
    assert context_template(length, position) == template
    coop = CoOp(text, length, position)
    tokens, places = coop.tokenize(text, NAMES)
    for name, row, found in zip(NAMES, tokens, places):
        whole = TOKENIZER(template.replace('{}', name))[0]
        assert torch.equal(row, whole[: len(row)])
        assert not whole[len(row) :].any()
        assert found.tolist() == (whole == X).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    'position, expected',
    [
        ('end', [[0, 1, 2], [0, 1, 2]]),
        ('front', [[1, 2, 3], [5, 6, 7]]),
        ('middle', [[0, 2, 3], [0, 6, 7]]),
    ],
)
def test_places_without_start_token(position, expected):
    assert context_positions([1, 5], 3, position).tolist() == expected


@pytest.mark.parametrize('position', ['end', 'middle', 'front'])
@pytest.mark.parametrize('init', [None, 'a photo of a'])
def test_words_take_the_places_of_placeholders(text, position, init):
    coop = CoOp(text, position=position, init=init)
    tokens, places = coop.tokenize(text, NAMES)
    table = text.token_embedding.weight
    x = table[tokens].detach()
    with torch.no_grad():
        coop.context.add_(1)
    found = coop(x, places)
    for row, old, where in zip(found, x, places):
        assert torch.equal(row[where], coop.context)
        others = [i for i in range(len(row)) if i not in where]
        assert torch.equal(row[others], old[others])
    found.sum().backward()  # every class adds to the same words
    assert torch.equal(coop.context.grad, torch.full((4, 8), len(NAMES) * 1.0))
    coop.enabled = False
    assert torch.equal(coop(x, places), x)


def test_phrase_is_the_start(text):
    coop = CoOp(text, init='a photo of a')
    tokens, places = coop.tokenize(text, NAMES)
    expected = tokenize(text, [f'a photo of a {name}.' for name in NAMES])
    assert torch.equal(tokens, expected)
    x = text.token_embedding(tokens)
    assert torch.equal(coop(x, places), x)
    other = CoOp(text, init='a photo of a', position='middle')
    tokens, _ = other.tokenize(text, ['fox'])
    assert torch.equal(tokens, tokenize(text, ['a photo fox of a.']))


def test_drawn_start(text):
    torch.manual_seed(0)
    coop = CoOp(text, length=70)
    assert coop.context.shape == (70, 8)
    assert float(coop.context.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert CoOp(text).context.shape == (4, 8)
    assert coop.spec() == dict(type='CoOp', length=70, position='end')


def test_compact_embeddings(tmp_path):
    """A file that lacks 'X' is enough: its place is taken."""
    text = CLIPText(ARCH, clip_file(tmp_path))
    assert X not in text.known_tokens
    coop = CoOp(text, position='middle')
    tokens, places = coop.tokenize(text, ['great white shark'])
    x = text.token_embedding(tokens)
    assert coop(x, places).shape == x.shape
    coop.enabled = False
    with pytest.raises(ValueError, match="no embedding for 'X'"):
        coop(x, places)
    with pytest.raises(ValueError, match="'zebra' in the prompt"):
        coop.tokenize(text, ['zebra'])
    phrase = CoOp(text, init='a photo of a')
    tokens, places = phrase.tokenize(text, ['great white shark'])
    phrase.enabled = False
    assert phrase(text.token_embedding(tokens), places).shape[1] == 10
    with pytest.raises(ValueError, match="'zebra' in the prompt"):
        CoOp(text, init='a zebra')


def test_prompt_that_is_too_long(text):
    with pytest.raises(ValueError, match="'X X X X fox fox.*78 tokens.*77"):
        CoOp(text).tokenize(text, ['owl', ' '.join(['fox'] * 71)])
    tokens, _ = CoOp(text).tokenize(text, [' '.join(['fox'] * 70)])
    assert tokens.shape == (1, 77)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(length=0), 'length=0'),
        (dict(length=2.5), 'length=2.5'),
        (dict(position='start'), "'start' of CoOp.*'front', 'middle'"),
        (dict(init=''), "init=''"),
        (dict(init=3), 'init=3'),
        (dict(init='a photo', length=4), 'has 2 tokens'),
    ],
)
def test_wrong_settings(text, settings, message):
    with pytest.raises(ValueError, match=message + '.*`model.head.prompt'):
        CoOp(text, **settings)
