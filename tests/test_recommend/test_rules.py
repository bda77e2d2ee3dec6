"""The rules as a table."""

import pytest

from lift_mm.recommend import rules


@pytest.mark.parametrize(
    'classes, size',
    [
        (2, 4),
        (10, 4),
        (24, 4),
        (95, 4),
        (100, 4),
        (192, 8),
        (365, 8),
        (1000, 32),
        (8142, 256),
    ],
)
def test_tuner_size(classes, size):
    """The published sizes, and no less than the smallest of them."""
    choice = rules.tuner_size(classes)
    assert choice.value == size
    assert ('rule gives' in choice.reason) == (classes < 96)


@pytest.mark.parametrize(
    'counts, kind',
    [
        ([5], 'CrossEntropyLoss'),
        ([50, 50, 50], 'CrossEntropyLoss'),
        ([50, 99], 'CrossEntropyLoss'),
        ([50, 100], 'lift_mm.LogitAdjustedLoss'),
        ([1280, 5], 'lift_mm.LogitAdjustedLoss'),
    ],
)
def test_loss(counts, kind):
    assert rules.loss(counts).value == kind


@pytest.mark.parametrize(
    'images, classes, batch, epochs',
    [
        (115_846, 1000, 128, 10),  # ImageNet-LT
        (62_500, 365, 128, 10),  # Places-LT
        (437_513, 8142, 128, 20),  # iNaturalist 2018
        (437_513, 500, 128, 10),
        (10_847, 100, 128, 10),  # CIFAR-100-LT
        (5_000, 20, 128, 22),
        (2_000, 10, 32, 14),
        (500, 10, 32, 50),
        (3, 2, 32, 50),
    ],
)
def test_length(images, classes, batch, epochs):
    """The published schedules where the papers have such data."""
    chosen = rules.batch(images).value
    assert chosen == batch
    assert rules.epochs(images, classes, chosen).value == epochs


@pytest.mark.parametrize(
    'total, gib, size',
    [
        (128, 80, 128),
        (128, 24, 128),
        (128, 20, 128),
        (128, 16, 64),
        (128, 12, 64),
        (128, 8, 32),
        (32, 8, 32),
        (128, 4, 16),
        (128, 2, 2),
        (128, 0.5, 1),
        (96, 24, 32),
    ],
)
def test_fitting_batch(total, gib, size):
    choice = rules.fitting_batch(total, gib)
    assert choice.value == size and total % size == 0
    need = (rules.FIXED_MIB + size * rules.IMAGE_MIB) / 1024
    assert need <= gib or size == 1
    assert (f'{total // size} such' in choice.reason) == (size < total)


def test_memory_that_does_not_even_hold_one():
    assert 'does not fit' in rules.fitting_batch(128, 0.5).reason
    assert 'does not fit' not in rules.fitting_batch(128, 2).reason


@pytest.mark.parametrize(
    'names, shown',
    [
        (['fox', 'red panda'], None),
        (['n01440764', 'n01443537'], 'n01440764'),
        (['003', 'fox'], '003'),
        (['class 3', 'cls-4'], 'class 3'),
        (['a4', 'boeing 737'], 'a4'),
        (['boeing 737', 'mp3 player'], None),
    ],
)
def test_names_that_say_nothing(names, shown):
    found = rules.hints(names, [5, 5], 300, '')
    assert bool(found) == (shown is not None)
    if shown:
        assert shown in found[0] and 'class_names.txt' in found[0]


def test_other_hints():
    def hint(counts=(9, 9), side=300, broken=''):
        return rules.hints(['fox', 'owl'], counts, side, broken)

    assert hint() == []
    assert 'one training image (owl)' in hint(counts=(9, 1))[0]
    assert '28 pixels' in hint(side=28)[0] and 'crop' in hint(side=28)[0]
    assert '4000 pixels' in hint(side=4000)[0]
    assert "'a.jpg'" in hint(broken='a.jpg')[0]


def test_hours_without_a_gpu():
    # Two forwards' worth of arithmetic at what two cores were measured to do.
    assert rules.cpu_hours(6_000, 10, 2) == pytest.approx(9.7, abs=0.1)
