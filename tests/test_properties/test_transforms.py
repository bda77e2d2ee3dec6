"""Crops of every image and setting: where they lie and how large they are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lift_mm.datasets.transforms import (
    MinimalistRandomResizedCrop,
    MultiCrop,
    RandomResizedCrop,
)
from lift_mm.datasets.transforms.minimalist_crop import (
    SCHEDULES,
    minimalist_box,
    minimalist_min_area,
)

SIDE = st.integers(1, 40)
LONG = st.integers(1, 3000)
SHARES = st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted)
SEED = st.integers(0, 999)
CROP = st.integers(1, 12) | st.tuples(st.integers(1, 12), st.integers(1, 12))


def image(height, width):
    """Give an image whose pixels tell their places."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)


@given(LONG, LONG, SHARES, SEED)
@example(1, 1, [0.001, 0.001], 0)
@example(1, 3000, [1.0, 1.0], 0)
def test_a_square_lies_in_the_image(height, width, shares, seed):
    low, high = shares
    generator = torch.Generator().manual_seed(seed)
    top, left, side, other = minimalist_box(
        height, width, low, high, generator
    )
    assert side == other >= 1
    assert 0 <= top <= height - side
    assert 0 <= left <= width - side
    area, largest = height * width, min(height, width)
    ends = [min(math.sqrt(share * area), largest) for share in shares]
    # Rounded to whole pixels, drawn in single precision.
    assert ends[0] - 0.51 <= side
    assert side <= max(1, ends[1] + 0.51)


@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(1, 300),
    SHARES,
    st.data(),
)
def test_crops_grow_over_the_epochs(schedule, max_epochs, shares, data):
    def area(epoch):
        return minimalist_min_area(epoch, max_epochs, schedule, shares)

    low, high = shares
    epoch = data.draw(st.integers(0, max_epochs + 5))
    assert low - 1e-9 <= area(epoch) <= area(epoch + 1) + 1e-9 <= high + 2e-9
    if schedule not in ('min', 'max') and max_epochs > 1:
        assert area(0) == pytest.approx(low)
        assert area(max_epochs - 1) == pytest.approx(high)


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize(
    'kind', [RandomResizedCrop, MinimalistRandomResizedCrop]
)
@settings(max_examples=25)
@given(SIDE, SIDE, CROP, SHARES, SEED)
def test_random_crops_have_the_size(
    kind, backend, height, width, scale, shares, seed
):
    torch.manual_seed(seed)
    crop = kind(scale, crop_ratio_range=shares, backend=backend)
    if kind is MinimalistRandomResizedCrop:
        crop.set_epoch(1)
        crop.set_max_epochs(3)
    found = crop(dict(img=image(height, width)))
    size = (scale, scale) if isinstance(scale, int) else scale
    assert found['img'].shape == (*size, 3)
    assert found['img'].dtype == np.uint8
    assert found['img_shape'][:2] == size


@given(SIDE, SIDE, CROP, st.sampled_from(['five', 'ten']))
def test_fixed_crops_are_cut_from_the_image(height, width, crop_size, mode):
    crop = MultiCrop(crop_size, mode, transforms=[])
    h, w = crop.crop_size
    full = image(height, width)
    if height < h or width < w:
        with pytest.raises(ValueError, match='ResizeEdge'):
            crop(dict(img=full))
        return
    views = crop(dict(img=full))['img']
    assert len(views) == dict(five=5, ten=10)[mode]
    for number, view in enumerate(views):
        source = full if number < 5 else full[:, ::-1]
        top, left = view[0, 0, 0], view[0, 0, 1]
        left = left if number < 5 else width - 1 - left
        assert np.array_equal(view, source[top : top + h, left : left + w])
    corners = {(int(v[0, 0, 0]), int(v[0, 0, 1])) for v in views[:4]}
    assert corners == {
        (top, left) for top in (0, height - h) for left in (0, width - w)
    }
    middle = views[4][0, 0, :2].astype(int) * 2 - (height - h, width - w)
    assert np.abs(middle).max() <= 1


@given(SIDE, SIDE, CROP, st.integers(1, 6), SEED)
def test_random_views_depend_on_the_image_alone(
    height, width, crop_size, number, index
):
    crop = MultiCrop(crop_size, 'random', num_crops=number, transforms=[])
    first, second = (
        crop(dict(img=image(height, width), sample_idx=index))['img']
        for _ in range(2)
    )
    assert len(first) == number
    for view, again in zip(first, second, strict=True):
        assert view.shape == (*crop.crop_size, 3)
        assert np.array_equal(view, again)


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(max_value=0),
        st.text(max_size=3),
        st.lists(st.integers(1, 9), max_size=3).filter(lambda x: len(x) != 2),
        st.tuples(st.integers(-2, 0), st.integers(1, 9)),
    )
)
def test_impossible_sizes_are_refused(size):
    for build in (MultiCrop, RandomResizedCrop, MinimalistRandomResizedCrop):
        with pytest.raises(ValueError, match='size in pixels'):
            build(size)
