"""Sizes in a model config: whole numbers that a model can have."""

from numbers import Real

# Far above every model of open_clip, far below what fills a memory.
_LARGEST = dict(
    embed_dim=2**16,
    image_size=2**14,
    patch_size=2**14,
    layers=2**10,
    width=2**16,
    heads=2**10,
    head_width=2**14,
    mlp_ratio=2**8,
    context_length=2**16,
    vocab_size=2**24,
)
_REAL = {'mlp_ratio'}


def check_sizes(config: dict) -> None:
    """Refuse a model config with sizes that no model has.

    Args:
        config: ``embed_dim``, ``vision_cfg`` and mostly ``text_cfg``, as in
            the JSON files of open_clip.

    Raises:
        ValueError: A size is no number, not positive or absurdly large, or
            a tower is no dict; the field is named.
    """
    towers = [key for key in ('vision_cfg', 'text_cfg') if key in config]
    for name in towers:
        if not isinstance(config[name], dict):
            raise ValueError(
                f'{name}={config[name]!r} of the model config must be a dict '
                '(key `backbone.arch`).'
            )
    parts = {'': config, **{f'{name}.': config[name] for name in towers}}
    for prefix, part in parts.items():
        for key in _LARGEST.keys() & part.keys():
            _check(prefix + key, key, part[key])
    vision = config['vision_cfg']
    image, patch = vision.get('image_size'), vision.get('patch_size')
    if isinstance(image, int) and isinstance(patch, int) and patch > image:
        raise ValueError(
            f'vision_cfg.patch_size={patch} of the model config is larger '
            f'than image_size={image} (key `backbone.arch`).'
        )


def _check(name: str, key: str, value: object) -> None:
    if key == 'patch_size' and value is None:  # of a ResNet
        return
    kind = Real if key in _REAL else int
    # A ResNet has four numbers of layers, an image two sides.
    several = isinstance(value, (list, tuple)) and len(value)
    for one in value if several else [value]:
        number = isinstance(one, kind) and not isinstance(one, bool)
        if not number or not 0 < one <= _LARGEST[key]:
            what = 'a number' if key in _REAL else 'a whole number'
            raise ValueError(
                f'{name}={value!r} of the model config must be {what} above '
                f'0 and at most {_LARGEST[key]:,} (key `backbone.arch`).'
            )
