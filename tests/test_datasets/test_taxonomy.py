"""Labels and names of the ranks of a small taxonomy."""

import json

import pytest

from lift_mm.datasets.taxonomy import (
    RANKS,
    common_names,
    rank_labels,
    read_categories,
)

KEYS = ('id', *RANKS.values(), 'common_name')
# The ids follow neither the names nor any other rank.
CATEGORIES = [
    dict(zip(KEYS, row, strict=True))
    for row in (
        (5, 'P', 'Tracheophyta', 'M', 'O', 'F', 'Rosa', 'Rosa canina', ''),
        (0, 'A', 'Chordata', 'Aves', 'O', 'Y', 'Parus', 'Parus major', 'Tit'),
        (9, 'A', 'Chordata', 'Aves', 'O', 'X', 'Aix', 'Aix sponsa', None),
        (7, 'A', 'Chordata', 'Mam', 'L', 'X', 'Aix', 'Aix galericulata', 7),
    )
]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / 'categories.json'
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return str(path)

    return write


@pytest.mark.parametrize(
    ('rank', 'names', 'labels'),
    [
        ('kingdom', ['A', 'P'], {5: 1, 0: 0, 9: 0, 7: 0}),
        ('phylum', ['Chordata', 'Tracheophyta'], {5: 1, 0: 0, 9: 0, 7: 0}),
        ('class', ['Aves', 'M', 'Mam'], {5: 1, 0: 0, 9: 0, 7: 2}),
        # One name is one class, whatever stands above it.
        ('order', ['L', 'O'], {5: 1, 0: 1, 9: 1, 7: 0}),
        ('family', ['F', 'X', 'Y'], {5: 0, 0: 2, 9: 1, 7: 1}),
        ('genus', ['Aix', 'Parus', 'Rosa'], {5: 2, 0: 1, 9: 0, 7: 0}),
        (
            'species',
            ['Aix galericulata', 'Aix sponsa', 'Parus major', 'Rosa canina'],
            {5: 3, 0: 2, 9: 1, 7: 0},
        ),
    ],
)
def test_ranks(write, rank, names, labels):
    for content in (CATEGORIES, dict(images=[], categories=CATEGORIES)):
        categories = read_categories(write(content), rank)
        assert rank_labels(categories, rank) == (names, labels)


def test_common_names():
    assert common_names(CATEGORIES) == (
        ['Aix galericulata', 'Aix sponsa', 'Tit', 'Rosa canina'],
        3,
    )


def test_byte_order_mark(write):
    text = '\ufeff' + json.dumps(CATEGORIES)
    assert read_categories(write(text)) == CATEGORIES


def without(key):
    return [{k: v for k, v in c.items() if k != key} for c in CATEGORIES]


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        ('[{', r'is not JSON in UTF-8 \(.*un-obfuscated'),
        (b'"\xff"', 'is not JSON in UTF-8'),
        ([], "no list of categories.*key 'categories'"),
        (dict(images=[]), "no list of categories.*key 'categories'"),
        (dict(categories={}), 'no list of categories'),
        (['a'], r"Entry 0 of .* has None for the key 'id'.*type int"),
        (without('id'), "Entry 0 of .* has None for the key 'id'"),
        (without('name'), "None for the key 'name', .* type str"),
        (without('genus'), "None for the key 'genus'"),
        (
            [*CATEGORIES, CATEGORIES[0] | dict(id='6')],
            "Entry 4 of .* has '6' for the key 'id'",
        ),
        ([*CATEGORIES, CATEGORIES[0]], 'has an id twice'),
        (
            [entry | dict(name=f'x{entry["id"]}') for entry in CATEGORIES],
            r"names like 'x5'.*obfuscated; .*`categories`",
        ),
    ],
)
def test_bad_files(write, content, match):
    path = write(content)
    with pytest.raises(ValueError, match=match) as caught:
        read_categories(path, 'genus')
    assert path in str(caught.value)


def test_missing_file(tmp_path):
    path = str(tmp_path / 'none.json')
    match = r"no file '.*none.json'; .*categories.json of .*`categories`"
    with pytest.raises(ValueError, match=match):
        read_categories(path)
