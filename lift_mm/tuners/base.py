"""What every tuner is: settings, and modules attached by torch hooks."""

import contextlib
import difflib
import inspect
from collections.abc import Iterable, Sequence

from torch import nn

from lift_mm.registry import TUNERS

from .blocks import Block, find_blocks

Layers = int | Sequence[int] | None


class TunerModule(nn.Module):
    """Parent of every module that a tuner adds to a net.

    Its parameters are learned and it follows ``train()``; everything else in
    a frozen net stays in eval mode. Hooks must be bound methods, so that a
    deep copy or an unpickled net calls its own tuner and not the original.
    """

    enabled = True


class Tuner:
    """One fine-tuning method and its settings.

    Args:
        layers: Blocks it works on: None for all, an int for the last so
            many, or a list of indices (0 is the first block).
    """

    def __init__(self, layers: Layers = None) -> None:
        self.layers = layers

    def attach(self, blocks: list[Block], num_classes: int | None) -> None:
        """Add modules and hooks to the blocks of a frozen net."""
        raise NotImplementedError

    def spec(self) -> dict:
        """Settings that a tuned state depends on, as plain values."""
        return dict(type=type(self).__name__)

    def select(self, blocks: list[Block]) -> list[int]:
        """Give the indices of the blocks that ``layers`` means.

        Raises:
            ValueError: An index or a number of blocks that does not exist.
            TypeError: Not an int, a list of ints, or None.
        """
        layers, number = self.layers, len(blocks)
        if layers is None:
            return list(range(number))
        if isinstance(layers, int) and not isinstance(layers, bool):
            chosen = list(range(number - layers, number))
        elif isinstance(layers, (list, tuple)) and all(
            isinstance(i, int) and not isinstance(i, bool) for i in layers
        ):
            chosen = list(layers)
        else:
            raise TypeError(
                f'layers={layers!r} of {type(self).__name__} must be None, '
                'an int (the last so many blocks) or a list of indices (key '
                '`backbone.tuners`).'
            )
        wrong = [i for i in chosen if not 0 <= i < number]
        if wrong or not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(
                f'layers={layers!r} of {type(self).__name__} does not fit: '
                f'the net has {number} blocks, 0 to {number - 1}, each '
                'usable once (key `backbone.tuners`).'
            )
        return sorted(chosen)


def pow2_floor(value: float) -> int:
    """Give the largest power of two not above ``value``, at least 1."""
    power = 1
    while 2 * power <= value:
        power *= 2
    return power


def add_child(block: Block, name: str, module: TunerModule) -> None:
    """Register a tuner's module under a block.

    Raises:
        ValueError: The block has a child of that name already.
    """
    if hasattr(block.module, name):
        raise ValueError(
            f'A block already has a {name!r}: the same tuner is listed twice '
            'for one block, or the backbone has its own (key '
            '`backbone.tuners`).'
        )
    block.module.add_module(name, module)


def build_tuner(config: dict | Tuner, index: int) -> Tuner:
    """Build one entry of ``tuners``.

    Raises:
        ValueError: No tuner has that name, or it has no such setting; what
            is possible is listed.
    """
    if isinstance(config, Tuner):
        return config
    settings = dict(config)
    name = str(settings.pop('type', None)).removeprefix('lift_mm.')
    TUNERS.import_from_location()
    if name not in TUNERS.module_dict:
        known = sorted(TUNERS.module_dict)
        near = difflib.get_close_matches(name, known, 1)
        hint = f'did you mean {near[0]}? ' if near else ''
        raise ValueError(
            f'tuners[{index}].type={name!r} is not a tuner; {hint}known: '
            f'{", ".join(known)}.'
        )
    cls = TUNERS.module_dict[name]
    known = inspect.signature(cls).parameters
    for key in settings:
        if key not in known:
            raise ValueError(
                f'tuners[{index}].{key} is no setting of {name}; known: '
                f'{", ".join(known)}.'
            )
    return cls(**settings)


def attach_tuners(
    net: nn.Module,
    tuners: Iterable[dict | Tuner],
    num_classes: int | None = None,
) -> list[dict]:
    """Attach tuners to a frozen net, in the order given.

    Args:
        net: A net whose parameters are frozen.
        tuners: Configs (``dict(type='AdaptFormer', ...)``) or objects.
        num_classes: What LIFT's size rules start from.

    Returns:
        The tuners' :meth:`Tuner.spec`, with automatic sizes filled in.

    Raises:
        ValueError: A tuner does not exist or does not fit the net.
    """
    tuners = [build_tuner(config, i) for i, config in enumerate(tuners)]
    if not tuners:
        return []
    blocks = find_blocks(net)
    for tuner in tuners:
        tuner.attach(blocks, num_classes)
    return [tuner.spec() for tuner in tuners]


@contextlib.contextmanager
def disabled(net: nn.Module):
    """Compute without tuners inside this context: the base net's function."""
    modules = [m for m in net.modules() if isinstance(m, TunerModule)]
    before = [m.enabled for m in modules]
    try:
        for module in modules:
            module.enabled = False
        yield net
    finally:
        for module, enabled in zip(modules, before):
            module.enabled = enabled
