"""Lists and categories from the official JSON files."""

import json

import pytest
from tiny_benchmarks import annotations, taxonomy, tiny

from lift_mm.datasets.published.inaturalist import (
    list_from_annotations,
    taxonomy_text,
)

TEXT = tiny('inaturalist2018')[1]['iNaturalist18_train.txt']


def test_list(tmp_path):
    path = tmp_path / 'train2018.json'
    annotations(path, TEXT, [])
    assert list_from_annotations(path) == TEXT


@pytest.mark.parametrize(
    'change, match',
    [
        (lambda c: c['annotations'].pop(), 'no category for 1 of 145.*train'),
        (
            lambda c: c['annotations'].append(dict(image_id=7, category_id=2)),
            'image 7 two categories, 0 and 2',
        ),
        (lambda c: c.pop('images'), "KeyError: 'images'"),
        (lambda c: c['images'][3].pop('file_name'), "KeyError: 'file_name'"),
        (lambda c: c.update(annotations=[1]), 'TypeError.*"annotations"'),
    ],
)
def test_broken_annotations(tmp_path, change, match):
    path = tmp_path / 'train2018.json'
    annotations(path, TEXT, [])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=match):
        list_from_annotations(path)


def test_no_json(tmp_path):
    path = tmp_path / 'train2018.json'
    path.write_bytes(b'\x1f\x8b of gzip')
    with pytest.raises(ValueError, match='no JSON.*unpack'):
        list_from_annotations(path)


@pytest.mark.parametrize('inside', [False, True])
def test_taxonomy(tmp_path, inside):
    path = tmp_path / 'x.json'
    entries = taxonomy()[::-1]
    content = dict(categories=entries) if inside else entries
    path.write_text(json.dumps(content))
    assert json.loads(taxonomy_text(path, 3)) == taxonomy()


@pytest.mark.parametrize(
    'entries, match',
    [
        ([dict(id=i, name=str(i)) for i in range(3)], 'categories.json.tar'),
        (
            [dict(id=i, name='Larus argentatus') for i in range(3)],
            'does not tell the kingdom of category 0.*categories.json.tar.gz',
        ),
        (taxonomy()[:2], 'holds 2 categories, but there must be 3'),
    ],
)
def test_no_taxonomy(tmp_path, entries, match):
    path = tmp_path / 'val2018.json'
    path.write_text(json.dumps(dict(categories=entries)))
    with pytest.raises(ValueError, match=match):
        taxonomy_text(path, 3)
