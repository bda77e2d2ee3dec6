"""Prompt templates: format strings with one ``{}`` for the class name."""

from collections.abc import Sequence

DEFAULT = 'a photo of a {}.'


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
