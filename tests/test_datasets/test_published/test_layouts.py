"""Forms of paths, there and back."""

import pytest

from lift_mm.datasets.published import BENCHMARKS
from lift_mm.datasets.published.layouts import (
    Place,
    choose_form,
    evenly,
    forms_on_disk,
    place_of,
    spell,
)

FORMS = [
    (benchmark, part, form)
    for benchmark in BENCHMARKS.values()
    for part in benchmark.images
    for form in part.forms
]


@pytest.mark.parametrize(
    'benchmark, part, form',
    FORMS,
    ids=[f'{benchmark.name} {form}' for benchmark, _, form in FORMS],
)
def test_there_and_back(benchmark, part, form):
    for folder, name in (('arena-hockey', 'no 1.jpg'), ('n01', 'a{b}.JPEG')):
        path = spell(form, folder, name)
        kept = folder if 'folder' in form else ''
        assert place_of(path, benchmark.images) == Place(part.name, kept, name)


@pytest.mark.parametrize(
    'path, place',
    [
        ('data_256/b/bar/1.jpg', Place('train', 'bar', '1.jpg')),
        (
            'data_256/a/arena/hockey/1.jpg',
            Place('train', 'arena-hockey', '1.jpg'),
        ),
        ('val_256/1.jpg', Place('val', '', '1.jpg')),
    ],
)
def test_spellings_of_oltr(path, place):
    assert place_of(path, BENCHMARKS['places-lt'].images) == place


@pytest.mark.parametrize('path', ['test/n01/a.JPEG', 'train/a.JPEG', 'train'])
def test_unknown_forms(path):
    assert place_of(path, BENCHMARKS['imagenet-lt'].images) is None


def test_the_form_with_the_images_is_chosen(tmp_path):
    part = BENCHMARKS['imagenet-lt'].images[1]
    assert forms_on_disk(tmp_path, part) == []
    (tmp_path / 'val').mkdir()
    forms = forms_on_disk(tmp_path, part)
    assert forms == ['val/{folder}/{name}', 'val/{name}']
    places = [Place('val', 'n01', f'{n}.JPEG') for n in range(300)]
    assert choose_form(tmp_path, forms, places) == forms[0]
    (tmp_path / 'val' / '299.JPEG').touch()
    assert choose_form(tmp_path, forms, places) == forms[1]
    assert choose_form(tmp_path, forms, []) == forms[0]


@pytest.mark.parametrize(
    'size, picked', [(3, [0, 5, 9]), (1, [0]), (20, list(range(10)))]
)
def test_evenly(size, picked):
    found = evenly(list(range(10)), size)
    assert len(found) == len(picked) and set(found) <= set(range(10))
    assert (found[0], found[-1]) == (picked[0], picked[-1])
    assert evenly([], size) == []
