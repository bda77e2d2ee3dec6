"""Each thing that can be wrong with a list is named."""

from dataclasses import replace

import pytest
from tiny_benchmarks import tiny

from lift_mm.datasets.published import (
    check_lists,
    groups_of,
    parse_list,
    published_text,
)


def checked(benchmark, texts):
    lists = [
        parse_list(texts[facts.file], facts.file, facts, benchmark)
        for facts in benchmark.lists
        if facts.file in texts
    ]
    check_lists(lists, benchmark)
    return lists, [failure for found in lists for failure in found.failures]


@pytest.mark.parametrize(
    'name', ['imagenet-lt', 'places-lt', 'inaturalist2018']
)
def test_published_lists_pass(name):
    lists, failures = checked(*tiny(name))
    assert not failures
    assert [found.notes for found in lists] == [[]] * len(lists)


LAST = 'train/n01484850/train 24.JPEG 2\n'
FIRST = 'train/n01440764/train 00.JPEG 0\n'


@pytest.mark.parametrize(
    'old, new, wanted',
    [
        (
            LAST,
            '',
            [
                'images: expected 145, found 144',
                'images of the smallest class: expected 5, found 4',
                'SHA-256 of the counts',
                'MD5: expected',
            ],
        ),
        (FIRST, '', ['images of the largest class: expected 120, found 119']),
        (
            LAST,
            FIRST,
            ["repeated lines: expected 0, found 1, first 'train 00.JPEG' in "],
        ),
        (
            LAST,
            FIRST.replace(' 0\n', ' 1\n'),
            [
                'images of two labels: expected 0, found 1',
                'lines 1, 145',
                'line 145: expected one class folder for each label',
                "label 1 for 'n01440764', before 'n01443537'",
            ],
        ),
        (
            ' 2\n',
            ' 1\n',
            ['classes: expected 3, found 2, none of label 2'],
        ),
        (LAST, LAST.replace(' 2\n', ' 3\n'), ['labels: expected 0 to 2']),
        (
            LAST,
            LAST.replace(' 2\n', f' {10**30}\n'),
            [f'labels: expected 0 to 2, found {10**30} in line 145'],
        ),
        ('train 10.', 'train x.', ['MD5']),
        ('n01443537/train 11.', 'n01440764/x.', ["before 'n01443537'"]),
        (
            'train/n01443537/train 1',
            'train/n01440764/train 1',
            ['and 19 more'],
        ),
    ],
)
def test_wrong_lists(old, new, wanted):
    benchmark, texts = tiny('imagenet-lt')
    assert old in texts['ImageNet_LT_train.txt']
    texts['ImageNet_LT_train.txt'] = texts['ImageNet_LT_train.txt'].replace(
        old, new
    )
    _, failures = checked(benchmark, texts)
    for text in wanted:
        assert any(text in failure for failure in failures), failures


def test_groups():
    # At the thresholds: 20 and 100 are medium.
    assert groups_of([101, 100, 20, 19]) == (1, 2, 1)
    benchmark, texts = tiny('places-lt')
    train, *others = benchmark.lists
    lists = (replace(train, groups=(2, 1, 0)), *others)
    _, failures = checked(replace(benchmark, lists=lists), texts)
    assert failures == [
        'Places_LT_train.txt: many/medium/few classes: expected (2, 1, 0), '
        'found (1, 1, 1)'
    ]


def test_another_order_is_only_noted():
    benchmark, texts = tiny('places-lt')
    lines = texts['Places_LT_val.txt'].splitlines(True)
    texts['Places_LT_val.txt'] = ''.join(lines[::-1])
    lists, failures = checked(benchmark, texts)
    assert not failures
    assert lists[1].notes == ['the published lines in another order']


@pytest.mark.parametrize('swap', [False, True])
def test_labels_are_ranks_of_wordnet_ids(swap):
    benchmark, texts = tiny('imagenet-lt')
    lists = [replace(f, md5=None, counts_sha256=None) for f in benchmark.lists]
    benchmark = replace(benchmark, lists=tuple(lists))
    if swap:
        pairs = str.maketrans('02', '20')
        for file, text in texts.items():
            texts[file] = ''.join(
                line[:-1] + line[-1].translate(pairs) + '\n'
                for line in text.splitlines()
            )
    _, failures = checked(benchmark, texts)
    wanted = ["label of 'n01440764': expected 0, found 2"] if swap else []
    assert [text.split(': ', 1)[1] for text in failures] == wanted


def test_number_is_the_folder_in_inaturalist():
    benchmark, texts = tiny('inaturalist2018')
    lists = [replace(facts, md5=None) for facts in benchmark.lists]
    texts = {
        file: text.replace('Aves/2', 'Aves/4') for file, text in texts.items()
    }
    _, failures = checked(replace(benchmark, lists=tuple(lists)), texts)
    assert failures == [
        "iNaturalist18_train.txt: label of 'Aves/4': expected 4, found 2"
    ]


def test_folders_of_a_flat_list_come_from_the_training_list():
    benchmark, texts = tiny('imagenet-lt')
    published = texts['ImageNet_LT_test.txt']
    flat = ''.join(
        f'val/{line.rpartition("/")[2]}\n' for line in published.splitlines()
    )
    texts['ImageNet_LT_test.txt'] = flat
    lists, failures = checked(benchmark, texts)
    assert not failures
    assert published_text(lists[2], benchmark) == published
    forms = dict(val='val/{name}')
    assert published_text(lists[2], benchmark, forms) == flat

    _, failures = checked(benchmark, {'ImageNet_LT_test.txt': flat})
    assert failures == [
        'ImageNet_LT_test.txt: class folders: expected one for each label, '
        'in the training list, found none for 0, 1, 2'
    ]
