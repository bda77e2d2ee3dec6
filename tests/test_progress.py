"""A bar on a terminal, two lines in a file."""

import io
import sys

import pytest

from lift_mm.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def out(monkeypatch):
    def replace(stream):
        monkeypatch.setattr(sys, 'stdout', stream)
        return stream

    return replace


def test_a_file_gets_two_lines(out):
    stream = out(io.StringIO())
    batches = [[1] * 400] * 3
    found = track(batches, 'Reading', 1200, len, logger=None)
    assert next(found) == batches[0]
    assert stream.getvalue() == 'Reading: 1,200\n'
    assert list(found) == batches[1:]
    assert stream.getvalue() == 'Reading: 1,200\nReading: 1,200 in 0 s\n'


def test_a_terminal_gets_a_bar(out):
    stream = out(Terminal())
    assert list(track('ab', 'Reading', 2, logger=None)) == ['a', 'b']
    shown = stream.getvalue()
    assert shown.startswith('Reading\n') and shown.endswith('\n')
    assert '1/2' in shown and '2/2' in shown and '\r' in shown


def test_an_interrupted_bar_leaves_the_line(out):
    stream = out(Terminal())
    with pytest.raises(ValueError):
        for _ in track('ab', 'Reading', 2, logger=None):
            raise ValueError
    # The generator ends when it is dropped.
    assert stream.getvalue().endswith('\n')
    assert '2/2' not in stream.getvalue()


@pytest.mark.parametrize('stream', [io.StringIO(), Terminal()])
@pytest.mark.parametrize('hidden', ['short', 'empty', 'second process'])
def test_nothing_to_show(out, monkeypatch, stream, hidden):
    out(stream)
    if hidden == 'second process':
        monkeypatch.setattr('mmengine.dist.is_main_process', lambda: False)
    total = 0 if hidden == 'empty' else 2
    found = track('ab', 'x', total, show=hidden != 'short', logger=None)
    assert list(found) == ['a', 'b']
    assert stream.getvalue() == ''
