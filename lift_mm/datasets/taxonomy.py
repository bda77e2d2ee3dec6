"""Labels and names from a taxonomy of species (pure functions)."""

import json
from collections.abc import Mapping, Sequence

from mmengine.fileio import exists, get_text

# Rank -> key of an entry in the annotations of iNaturalist.
RANKS = {
    'kingdom': 'kingdom',
    'phylum': 'phylum',
    'class': 'class',
    'order': 'order',
    'family': 'family',
    'genus': 'genus',
    'species': 'name',
}

_NEEDED = (
    'it must be categories.json of the iNaturalist 2018 competition (from '
    'categories.json.tar.gz, "un-obfuscated category names") or annotations '
    'with its entries (dataset key `categories`).'
)


def read_categories(path: str, rank: str = 'species') -> list[dict]:
    """Read the species and their taxonomy.

    Args:
        path: JSON file, or any address that mmengine's ``fileio`` reads: a
            list of entries with ``id``, ``name`` (scientific), ``kingdom``
            ... ``genus``, or COCO-style annotations that hold such a list
            under ``categories``.
        rank: Rank that the entries must tell, one of :data:`RANKS`.

    Returns:
        The entries.

    Raises:
        ValueError: The file is missing, is no JSON of that form, lacks a
            key, or is the first release, whose names are obfuscated.
    """
    if not exists(path):
        raise ValueError(f'There is no file {path!r}; {_NEEDED}')
    try:
        content = json.loads(get_text(path).removeprefix('\ufeff'))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path!r} is not JSON in UTF-8 ({error}); {_NEEDED}'
        ) from error
    if isinstance(content, dict):
        content = content.get('categories')
    if not isinstance(content, list) or not content:
        raise ValueError(
            f'{path!r} holds no list of categories, neither by itself nor '
            f"under the key 'categories'; {_NEEDED}"
        )
    wanted = dict.fromkeys(('name', RANKS[rank]), str)
    for place, entry in enumerate(content):
        for key, kind in dict(id=int, **wanted).items():
            value = entry.get(key) if isinstance(entry, dict) else None
            if type(value) is not kind:
                raise ValueError(
                    f'Entry {place} of {path!r} has {value!r} for the key '
                    f'{key!r}, which must be of type {kind.__name__}; '
                    f'{_NEEDED}'
                )
    if len({entry['id'] for entry in content}) < len(content):
        raise ValueError(f'{path!r} has an id twice; {_NEEDED}')
    if not any(' ' in entry['name'].strip() for entry in content):
        raise ValueError(
            f'{path!r} has names like {content[0]["name"]!r}, none of two '
            f'words as species have: it seems to be the first release, '
            f'whose names were obfuscated; {_NEEDED}'
        )
    return content


def rank_labels(
    categories: Sequence[Mapping], rank: str = 'species'
) -> tuple[list[str], dict[int, int]]:
    """Number the taxa of a rank by their sorted names.

    These are LIFT's labels of iNaturalist 2018 (Shi et al., ICML 2024): not
    the category ids, which follow another order.

    Args:
        categories: Entries of :func:`read_categories`.
        rank: One of :data:`RANKS`.

    Returns:
        The names by label, and the label of each category id.
    """
    key = RANKS[rank]
    names = sorted({entry[key] for entry in categories})
    labels = {name: label for label, name in enumerate(names)}
    return names, {entry['id']: labels[entry[key]] for entry in categories}


def common_names(
    categories: Sequence[Mapping],
) -> tuple[list[str], int]:
    """Give the everyday names of the species (key ``common_name``).

    Args:
        categories: Entries of :func:`read_categories`.

    Returns:
        The names by label of the rank ``'species'``, and how many of them
        are scientific because a species has no common name.
    """
    names, labels = rank_labels(categories)
    missing = set(labels.values())
    for entry in categories:
        common = entry.get('common_name')
        if isinstance(common, str) and common.strip():
            names[labels[entry['id']]] = common.strip()
            missing.discard(labels[entry['id']])
    return names, len(missing)
