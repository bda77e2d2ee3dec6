"""Small image files."""

import numpy as np
import pytest
from PIL import Image


def write_image(path, value=0, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(value)
    array = rng.randint(0, 256, (*size, 3), np.uint8)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def image_list(tmp_path):
    """Write a list of three classes with 4, 2 and 1 images and its names."""
    lines = []
    for label, count in enumerate((4, 2, 1)):
        for number in range(count):
            name = f'photos of {label}/no {number}.png'
            write_image(tmp_path / name, len(lines))
            lines.append(f'{name} {label}')
    (tmp_path / 'train.txt').write_text('\n'.join(lines) + '\n')
    (tmp_path / 'class_names.txt').write_text('ant\nbee\ncat\n')
    return tmp_path


@pytest.fixture
def folders(tmp_path):
    """Write a root without splits: 10, 5 and 1 images of three classes."""
    root = tmp_path / 'photos'
    for name, count in (('sea_gull', 10), ('ant', 5), ('great tit', 1)):
        for number in range(count):
            write_image(root / name / f'{number}.png', number)
    return root
