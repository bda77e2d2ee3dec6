"""The picture of a long tail shows what it is given."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from lift_mm.analysis import count_plot

COLOURS = dict(
    many=(0x00, 0x72, 0xB2), medium=(0xE6, 0x9F, 0x00), few=(0x00, 0x9E, 0x73)
)


def shares(counts, names=None):
    """Give the share of pixels in the colour of each group."""
    names = names or [f'class {index}' for index in range(len(counts))]
    png = count_plot(counts, names, 'a title')
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))
    return {
        group: (pixels == colour).all(axis=-1).mean()
        for group, colour in COLOURS.items()
    }


@pytest.mark.parametrize('classes', [3, 300])
def test_groups_have_their_colours(classes):
    found = shares(np.repeat([500, 50, 5], classes // 3))
    assert all(share > 0.02 for share in found.values())
    assert found['many'] > found['medium'] > found['few']
    assert shares([500] * classes)['few'] == 0


def test_classes_of_one_image_are_seen():
    assert shares([200, 1, 1])['few'] > 0.01


def test_odd_names():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = shares([30, 20, 10], ['a$b$c\\frac', '日本', 'x' * 60])
    assert found['medium'] > 0


def test_same_bytes():
    assert count_plot([3, 2], 'ab', 't') == count_plot([3, 2], 'ab', 't')
