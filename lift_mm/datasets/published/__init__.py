"""What is published about the long-tail benchmarks, and checks against it."""

from .checks import check_lists, groups_of
from .facts import BENCHMARKS, Benchmark, ImageFolder, PublishedList
from .files import (
    difference,
    missing_taxonomy,
    search_folders,
    write_files,
)
from .images import missing_images
from .layouts import readable
from .lists import ImageList, load_list, parse_list, published_text
from .survey import SAMPLE, choose_forms, find_lists, look_for_images

__all__ = [
    'BENCHMARKS',
    'SAMPLE',
    'Benchmark',
    'ImageFolder',
    'ImageList',
    'PublishedList',
    'check_lists',
    'choose_forms',
    'difference',
    'find_lists',
    'groups_of',
    'load_list',
    'look_for_images',
    'missing_images',
    'missing_taxonomy',
    'parse_list',
    'published_text',
    'readable',
    'search_folders',
    'write_files',
]
