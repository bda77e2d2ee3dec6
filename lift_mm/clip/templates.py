"""Prompts: format strings with one ``{}``, or sentences of each class."""

import json
import os
from collections.abc import Mapping, Sequence

from .names import clean_name

DEFAULT = 'a photo of a {}.'

# Format strings that serve every class, or sentences by cleaned class name.
Prompts = Sequence[str] | Mapping[str, Sequence[str]]


def resolve_templates(templates: str | Sequence[str]) -> list[str]:
    """Give the list of templates that a config names.

    Args:
        templates: One format string, a list of them, or a set's name:
            ``'default'`` (one photo prompt), ``'classname'`` (the bare name)
            or ``'ensemble'`` (the 80 prompts that CLIP's authors published
            for ImageNet).

    Raises:
        ValueError: An unknown name, an empty list, or a template without
            ``{}``.
    """
    if templates == 'default':
        return [DEFAULT]
    if templates == 'classname':
        return ['{}']
    if templates == 'ensemble':
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return [template('{}') for template in OPENAI_IMAGENET_TEMPLATES]
    templates = [templates] if isinstance(templates, str) else list(templates)
    wrong = [t for t in templates if not isinstance(t, str) or '{}' not in t]
    if wrong or not templates:
        raise ValueError(
            f'{wrong[0] if wrong else templates!r} is not a prompt template; '
            "give format strings with '{}' for the class name, or one of "
            "'default', 'classname', 'ensemble' (key `head.init.templates`)."
        )
    return templates


def read_descriptors(path: str | os.PathLike) -> dict[str, list[str]]:
    """Read sentences that describe the classes.

    Args:
        path: JSON file ``{class name: [sentence, ...]}``. Sentences are
            used as they are, without the class name.

    Returns:
        The sentences by cleaned class name.

    Raises:
        ValueError: No such file, no JSON of that form, a class without
            sentences, or the same class twice.
        TypeError: Something that is no text.
    """
    key = '(key `head.init.descriptors`)'
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f'descriptors={path!r} must be a file name {key}.')
    try:
        with open(path, encoding='utf-8-sig') as file:
            # Pairs and not a dict: JSON lets a name come twice.
            pairs = json.load(file, object_pairs_hook=_Pairs)
    except OSError as error:
        raise ValueError(
            f'The descriptor file {path!r} cannot be read '
            f'({error.strerror}); give a JSON file of sentences by class '
            f'name {key}.'
        ) from error
    except (ValueError, RecursionError) as error:  # of UTF-8, too
        raise ValueError(
            f'The descriptor file {path!r} is not JSON ({error}) {key}.'
        ) from error
    if not isinstance(pairs, _Pairs):
        raise TypeError(
            f'The descriptor file {path!r} holds a {type(pairs).__name__}; '
            f'it must be a dict of class names and lists of sentences {key}.'
        )
    found: dict[str, list[str]] = {}
    for name, sentences in pairs:
        texts = isinstance(sentences, list) and not isinstance(
            sentences, _Pairs
        )
        if not texts or not all(isinstance(s, str) for s in sentences):
            raise TypeError(
                f'The descriptors of {name!r} in {path!r} are {sentences!r}; '
                f'they must be a list of sentences {key}.'
            )
        if not sentences or not all(s.strip() for s in sentences):
            raise ValueError(
                f'The class {name!r} has {"an empty" if sentences else "no"} '
                f'sentence in {path!r}; give it at least one {key}.'
            )
        if clean_name(name) in found:
            raise ValueError(
                f'The class {name!r} comes twice in {path!r}; put all of '
                f'its sentences in one list {key}.'
            )
        found[clean_name(name)] = sentences
    return found


class _Pairs(list):
    """The pairs of a JSON object."""


def class_prompts(names: Sequence[str], prompts: Prompts) -> list[list[str]]:
    """Give the prompts of each class.

    Args:
        names: C class names; underscores become blanks.
        prompts: Format strings, or what :func:`read_descriptors` gives.

    Returns:
        C lists.

    Raises:
        ValueError: Classes without descriptors; they are named.
    """
    names = [clean_name(name) for name in names]
    if not isinstance(prompts, Mapping):
        return [[t.replace('{}', name) for t in prompts] for name in names]
    absent = [i for i, name in enumerate(names) if name not in prompts]
    if absent:
        shown = ', '.join(f'{names[i]!r} (label {i})' for i in absent[:5])
        more = f' and {len(absent) - 5} more' if len(absent) > 5 else ''
        raise ValueError(
            f'{len(absent)} of {len(names)} classes have no descriptors: '
            f'{shown}{more}; add their sentences to the file (key '
            '`head.init.descriptors`).'
        )
    return [list(prompts[name]) for name in names]
