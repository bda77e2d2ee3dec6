"""Reading lists as people have them."""

import pytest
from tiny_benchmarks import tiny

from lift_mm.datasets.published import load_list, parse_list, published_text
from lift_mm.datasets.published.layouts import Place

BENCHMARK, TEXTS = tiny('imagenet-lt')
FACTS = BENCHMARK.lists[0]
TEXT = TEXTS[FACTS.file]


@pytest.mark.parametrize(
    'change, notes',
    [
        (lambda t: t, []),
        (lambda t: t.replace('\n', '\r\n'), ['Windows line ends']),
        (lambda t: t.rstrip('\n'), ['no line end at the end']),
        (lambda t: '\ufeff' + t, ['a byte order mark']),
        (lambda t: t.replace('\n', '\n\n'), []),
        (lambda t: t.replace('train/', './train/'), []),
        (
            lambda t: t.replace('train/n', 'ILSVRC/Data/CLS-LOC/train/n'),
            [],
        ),
    ],
    ids='as-is crlf no-end bom blank-lines dot kaggle'.split(),
)
def test_harmless_differences(tmp_path, change, notes):
    path = tmp_path / 'list.txt'
    path.write_bytes(change(TEXT).encode())
    found = load_list(path, FACTS, BENCHMARK)
    assert not found.failures and found.notes == notes
    assert found.places[0] == Place('train', 'n01440764', 'train 00.JPEG')
    assert published_text(found, BENCHMARK) == TEXT


@pytest.mark.parametrize(
    'line, fact',
    [
        ('train/n01440764/a.JPEG', 'a path, a blank and a whole number'),
        ('train/n01440764/a.JPEG -1', 'a path, a blank and a whole number'),
        ('train/n01440764/a.JPEG ²', 'a path, a blank and a whole number'),
        ('train/../../etc/a.JPEG 0', 'a path inside the root folder'),
        ('train\\..\\..\\a.JPEG 0', 'a path inside the root folder'),
        ('/train/n01440764/a.JPEG 0', 'a path inside the root folder'),
        ('C:/train/n01440764/a.JPEG 0', 'a path inside the root folder'),
        ('~/train/n01440764/a.JPEG 0', 'a path inside the root folder'),
        ('images/n01440764/a.JPEG 0', 'one of train/<class>/<image>, '),
    ],
)
def test_refused_lines(line, fact):
    lines = TEXT.splitlines()
    lines[4:4] = [line] * 3
    text = '\n'.join(lines)
    found = parse_list(text, 'x', FACTS, BENCHMARK)
    (failure,) = found.failures
    assert failure.startswith(f'{FACTS.file}: line 5: expected {fact}')
    assert f'found {line!r} and 2 more' in failure
    assert len(found.places) == 145 and found.lines[4] == 8


def test_not_utf8(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'train/n01440764/\xff.JPEG 0\n')
    (failure,) = load_list(path, FACTS, BENCHMARK).failures
    assert 'expected UTF-8' in failure
