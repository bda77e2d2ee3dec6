"""Shapes of long tails, the published draws, and the held-out share."""

import hashlib

import numpy as np
import pytest
from parity_data import load, meta

from lift_mm.datasets import (
    holdout_mask,
    long_tail_counts,
    long_tail_indices,
)
from lift_mm.datasets.longtail import (
    SHAPES,
    head_to_tail,
    imbalanced_counts,
    pareto_counts,
    step_counts,
)
from lift_mm.evaluation import shot_groups


def shuffled_labels():
    labels = np.arange(50000) % 100
    np.random.RandomState(1).shuffle(labels)
    return labels


LABELS = {
    'shuffled_seed1': shuffled_labels(),
    'sorted': np.repeat(np.arange(100), 500),
}


@pytest.mark.parametrize('ratio', [10, 50, 100])
def test_counts(ratio):
    want = load('cifar_lt')[f'counts/ir{ratio}'].tolist()
    counts = long_tail_counts(500, 100, ratio)
    assert counts == want
    assert all(type(count) is int for count in counts)
    assert sum(counts) == meta('cifar_lt')['counts'][f'ir{ratio}']['total']


@pytest.mark.parametrize('ratio', [10, 50, 100])
@pytest.mark.parametrize('recipe', list(LABELS))
def test_draw(recipe, ratio):
    before = np.random.get_state()[1].copy()
    kept = long_tail_indices(
        LABELS[recipe],
        long_tail_counts(500, 100, ratio),
        np.random.RandomState(0),
    )
    golden = load('cifar_lt')
    name = f'{recipe}/ir{ratio}'
    assert kept[:200].tolist() == golden[f'{name}/first200'].tolist()
    assert kept[-50:].tolist() == golden[f'{name}/last50'].tolist()
    want = meta('cifar_lt')['hashes'][name]
    assert len(kept) == want['n']
    digest = hashlib.sha256(kept.astype('<i8').tobytes()).hexdigest()
    assert digest == want['sha256_of_int64_le']
    # The global generator stays as it was.
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    'ratio, md5',
    [
        (100, 'b14391509947e7abfd7d02d0fbb07df2'),
        (50, '54565448bde1d2cd3463f8107fe36582'),
        (10, 'f863f90d24183e35aa0539768be6a102'),
    ],
)
def test_draw_of_the_written_specification(ratio, md5):
    labels = (37 * np.arange(50000) + 11) % 100  # SPEC T11
    kept = long_tail_indices(
        labels,
        long_tail_counts(500, 100, ratio),
        np.random.RandomState(0),
    )
    assert kept[:3].tolist() == [9097, 25497, 28397]
    assert hashlib.md5(kept.astype('<i8').tobytes()).hexdigest() == md5


def test_counts_at_the_edges():
    assert long_tail_counts(7, 1, 100) == [7]
    assert long_tail_counts(8, 3, 1) == [8, 8, 8]
    assert long_tail_counts(10, 3, 1000) == [10, 1, 1]


@pytest.mark.parametrize('shape', list(SHAPES))
@pytest.mark.parametrize(
    'n_max, classes, ratio',
    [
        (500, 100, 100),
        (5000, 10, 10),
        (1280, 1000, 256),
        (50, 5, 2.5),
        (1000, 7, 3),
        (7, 1, 100),
        (10, 3, 1000),
        (8, 3, 1),
    ],
)
def test_laws_of_all_shapes(shape, n_max, classes, ratio):
    counts = imbalanced_counts(shape, n_max, classes, ratio)
    assert len(counts) == classes
    assert all(type(count) is int for count in counts)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == n_max
    if classes > 1:
        assert counts[-1] == max(int(n_max / ratio), 1)
    # A smaller ratio asks no class for fewer images.
    milder = imbalanced_counts(shape, n_max, classes, 1 + (ratio - 1) / 2)
    assert all(more >= less for more, less in zip(milder, counts))


@pytest.mark.parametrize('shape', list(SHAPES))
@pytest.mark.parametrize(
    'ratio, error, match',
    [
        (0.5, ValueError, 'ratio is 0.5.*at least 1.*`imbalance_ratio`'),
        (-3, ValueError, 'ratio is -3'),
        (float('nan'), ValueError, 'ratio is nan'),
        (float('inf'), ValueError, 'ratio is inf.*finite'),
        ('100', TypeError, "ratio is '100', which is no number"),
        (None, TypeError, 'ratio is None'),
    ],
)
def test_no_ratio(shape, ratio, error, match):
    with pytest.raises(error, match=match):
        imbalanced_counts(shape, 10, 3, ratio)


def test_no_shape():
    with pytest.raises(ValueError, match=r"'pareto', 'step'.*_shape`"):
        imbalanced_counts('linear', 10, 3, 2)


def test_pareto_comes_near_imagenet_lt():
    # The published training list: 115,846 images, 385 / 479 / 136 classes.
    counts = pareto_counts(1280, 1000, 256)
    assert sum(counts) == pytest.approx(115_846, rel=0.05)
    groups = [len(found) for found in shot_groups(counts).values()]
    assert groups == pytest.approx([385, 479, 136], abs=25)


def test_pareto_quantiles():
    # Quantiles of alpha = 1 are C / (c + 1): 4, 2, 4/3 and 1.
    assert pareto_counts(310, 4, 31, alpha=1) == [310, 110, 43, 10]
    tails = [sum(pareto_counts(1000, 50, 100, alpha=a)) for a in (1, 6, 50)]
    assert tails == sorted(tails)


@pytest.mark.parametrize(
    'classes, mu, large',
    [(4, 0.5, 2), (5, 0.5, 2), (10, 0.3, 7), (10, 0, 10), (10, 1, 1)],
)
def test_step(classes, mu, large):
    counts = step_counts(50, classes, 10, mu)
    assert counts == [50] * large + [5] * (classes - large)


def test_step_of_no_share():
    with pytest.raises(ValueError, match='share of small classes is 1.5'):
        step_counts(50, 10, 10, 1.5)


def test_head_to_tail():
    sizes = [3, 9, 3, 5]
    assert head_to_tail(sizes, 'size').tolist() == [1, 3, 0, 2]
    assert head_to_tail(sizes, 'name').tolist() == [0, 1, 2, 3]
    drawn = head_to_tail(range(20), 'random', seed=1)
    assert sorted(drawn) == list(range(20)) != drawn.tolist()
    assert np.array_equal(drawn, head_to_tail(range(20), 'random', seed=1))
    assert not np.array_equal(drawn, head_to_tail(range(20), 'random'))
    with pytest.raises(ValueError, match="no order 'rank'.*'random'"):
        head_to_tail(sizes, 'rank')


def test_a_class_gives_what_it_has():
    kept = long_tail_indices([0, 0, 1], [2, 2], np.random.RandomState(0))
    assert sorted(kept[:2]) == [0, 1] and kept[2:].tolist() == [2]


def test_holdout():
    labels = [0] * 10 + [1] * 2 + [2]
    held_out = holdout_mask(labels, 0.2)
    assert [held_out[:10].sum(), held_out[10:12].sum()] == [2, 1]
    assert not held_out[12]
    assert np.array_equal(held_out, holdout_mask(labels, 0.2))
    assert holdout_mask(labels, 0.99)[:10].sum() == 9
    for fraction in (0, 1, 20):
        with pytest.raises(ValueError, match='val_fraction'):
            holdout_mask(labels, fraction)
    with pytest.raises(TypeError, match="val_fraction='0.2' is no number"):
        holdout_mask(labels, '0.2')


@pytest.mark.parametrize(
    'sizes, fraction, each',
    [
        ((100, 10), 0.2, 2),
        ((9, 2), 0.9, 1),
        ((50, 3), 0.01, 1),
        ((9, 1), 0.5, 0),
    ],
)
def test_balanced_holdout(sizes, fraction, each):
    labels = np.repeat([0, 1], sizes)
    held_out = holdout_mask(labels, fraction, balanced=True)
    assert np.bincount(labels[held_out], minlength=2).tolist() == [each] * 2
