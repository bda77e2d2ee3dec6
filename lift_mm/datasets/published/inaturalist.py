"""iNaturalist 2018: lists and categories from the official JSON files."""

import json
from pathlib import Path

from lift_mm.datasets.taxonomy import RANKS, read_categories


def list_from_annotations(path: Path) -> str:
    """Write the list of a split.

    Args:
        path: ``train2018.json`` or ``val2018.json``, in COCO's form:
            ``images`` with ``id`` and ``file_name``, ``annotations`` with
            ``image_id`` and ``category_id``.

    Returns:
        ``file name, blank, category id`` a line, in the order of the
        images.

    Raises:
        ValueError: The file is no such JSON, or an image has no category
            or two.
    """
    content = _read(path)
    try:
        category = {}
        for note in content['annotations']:
            image, number = note['image_id'], note['category_id']
            if category.setdefault(image, number) != number:
                raise ValueError(
                    f'{str(path)!r} gives the image {image} two categories, '
                    f'{category[image]} and {number}, but it can have one; '
                    'take the official file.'
                )
        images = [
            (image['id'], image['file_name']) for image in content['images']
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'{str(path)!r} is not the official file of annotations '
            f'({type(error).__name__}: {error}); it must have the keys '
            '"images" and "annotations" as in COCO.'
        ) from error
    bare = [name for image, name in images if image not in category]
    if bare:
        raise ValueError(
            f'{str(path)!r} gives no category for {len(bare):,} of '
            f'{len(images):,} images, the first is {bare[0]!r}; take the '
            'file of the training or the validation images.'
        )
    return ''.join(f'{name} {category[image]}\n' for image, name in images)


def taxonomy_text(path: Path, classes: int) -> str:
    """Write ``categories.json``, which the dataset takes its names from.

    Args:
        path: ``categories.json`` itself, or a file of annotations.
        classes: Number of categories that there must be.

    Returns:
        A JSON list of all categories, in the order of their ids.

    Raises:
        ValueError: Categories are missing, or they have no taxonomy, as in
            the first release, whose names were hidden.
    """
    categories = read_categories(str(path))
    for rank in RANKS.values():
        bare = [c['id'] for c in categories if not c.get(rank)]
        if bare:
            raise ValueError(
                f'{str(path)!r} does not tell the {rank} of category '
                f'{bare[0]}; take categories.json from '
                'categories.json.tar.gz.'
            )
    by_id = {category['id']: category for category in categories}
    if by_id.keys() != set(range(classes)):
        raise ValueError(
            f'{str(path)!r} holds {len(by_id):,} categories, but there must '
            f'be {classes:,} with the ids 0 to {classes - 1}; take '
            'categories.json from categories.json.tar.gz.'
        )
    return json.dumps([by_id[number] for number in range(classes)]) + '\n'


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{str(path)!r} is no JSON ({error}); unpack or download it again.'
        ) from error
