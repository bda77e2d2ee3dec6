"""Settings of tuners: automatic sizes, and refusals of impossible ones."""


def pow2_floor(value: float) -> int:
    """Give the largest power of two not above ``value``, at least 1."""
    power = 1
    while 2 * power <= value:
        power *= 2
    return power


def lift_size(tuner, key: str, num_classes: int | None, share: int) -> int:
    """Give a tuner's size: its own setting, or LIFT's rule.

    Args:
        tuner: The tuner, whose attribute ``key`` is its setting.
        key: Name of the setting.
        num_classes: C.
        share: The size is the largest power of two not above C / share.

    Raises:
        ValueError: The setting is impossible, or C is needed and unknown.
    """
    kind, size = type(tuner).__name__, getattr(tuner, key)
    if size is None:
        if not num_classes:
            raise ValueError(
                f'{kind} chooses its size from the number of classes, which '
                f'is unknown: set `backbone.num_classes`, or `{key}` in '
                '`backbone.tuners`.'
            )
        return pow2_floor(num_classes / share)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(
            f'{key}={size!r} of {kind} must be None or an int of at least 1 '
            '(key `backbone.tuners`).'
        )
    return size


def check_choice(tuner, key: str, value, known: tuple) -> None:
    """Refuse a setting that is none of the known ones.

    Raises:
        ValueError: It is not; the known ones are listed.
    """
    if value not in known:
        raise ValueError(
            f'{key}={value!r} of {type(tuner).__name__} must be one of '
            f'{", ".join(map(repr, known))} (key `backbone.tuners`).'
        )


def check_choices(tuner, key: str, values, known: tuple) -> list:
    """Give a setting that is one or several of the known ones as a list.

    Raises:
        ValueError: It is none of them, or names one twice.
    """
    chosen = [values] if isinstance(values, str) else values
    if not isinstance(chosen, (list, tuple)) or not chosen:
        chosen = [values]  # one that is not known
    for value in chosen:
        check_choice(tuner, key, value, known)
    if len(set(chosen)) < len(chosen):
        raise ValueError(
            f'{key}={values!r} of {type(tuner).__name__} names one twice '
            '(key `backbone.tuners`).'
        )
    return list(chosen)
