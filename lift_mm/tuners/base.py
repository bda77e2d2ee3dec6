"""What every tuner is: settings, and modules attached by torch hooks."""

import contextlib
import copy
import difflib
import inspect
from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn import Parameter

from lift_mm.registry import TUNERS

from .blocks import Block, find_blocks
from .settings import check_choice

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

    # Whether it has something to do in ResNets (`Block.residual`), too.
    resnets = False
    # Several tuners attach in this order, whatever the order in the config:
    # hooks of one site run one after another, LoRA before SSF (LIFT).
    order = 9

    def __init__(self, layers: Layers = None) -> None:
        self.layers = layers

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """Add modules and hooks to the blocks of a frozen net.

        Args:
            net: The net, all of whose parameters are frozen.
            blocks: Its blocks, see :func:`find_blocks`.
            num_classes: What sizes follow; None where it is unknown.

        Raises:
            ValueError: The tuner does not fit the net.
        """
        raise NotImplementedError

    def spec(self) -> dict:
        """Settings that a tuned state depends on, as plain values."""
        return dict(type=type(self).__name__)

    def select(self, blocks: list[Block]) -> list[int]:
        """Give the indices of the blocks that ``layers`` means.

        Args:
            blocks: All blocks of the net.

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


class FlagTuner(Tuner):
    """A tuner that adds nothing: some base parameters learn.

    Args:
        layers: See :class:`Tuner`.
        scope: What it works on in a ResNet when ``layers`` is None:
            ``'lift'``, the whole net with stem and attention pool, or
            ``'lift+'``, the residual blocks. In a net of transformer blocks
            both mean the blocks.

    Raises:
        ValueError: An unknown scope, or nothing to learn.
    """

    resnets = True
    order = 0
    # Whether statistics of BatchNorms that it tunes follow the training.
    moves_statistics = False

    def __init__(self, layers: Layers = None, scope: str = 'lift') -> None:
        super().__init__(layers)
        check_choice(self, 'scope', scope, ('lift', 'lift+'))
        self.scope = scope

    def parameters(self, block: Block) -> Iterable[Parameter]:
        """Give the parameters of a block that learn."""
        raise NotImplementedError

    def attach(
        self, net: nn.Module, blocks: list[Block], num_classes: int | None
    ) -> None:
        """See :meth:`Tuner.attach`."""
        self.chosen = self.select(blocks)
        parts = [blocks[i] for i in self.chosen]
        lift = self.scope == 'lift' and self.layers is None
        self.whole = lift and blocks[0].residual
        if self.whole:
            parts = [Block(net, blocks[-1].dims, {}, residual=True)]
        learned = [p for part in parts for p in self.parameters(part)]
        if not learned:
            raise ValueError(
                f'{type(self).__name__} found nothing to learn in the blocks '
                f'of {type(net).__name__} (key `backbone.tuners`).'
            )
        net.frozen_base.unlock(learned, self.moves_statistics)

    def spec(self) -> dict:
        """See :meth:`Tuner.spec`."""
        whole = dict(whole=True) if self.whole else {}
        return dict(type=type(self).__name__, layers=self.chosen, **whole)


def build_tuner(config: dict | Tuner, index: int) -> Tuner:
    """Build one entry of ``tuners``.

    Raises:
        ValueError: It is no config, no tuner has that name, or it has no
            such setting; what is possible is listed.
    """
    if isinstance(config, Tuner):
        return copy.copy(config)  # sizes of this net are filled in
    if not isinstance(config, dict):
        raise ValueError(
            f'tuners[{index}]={config!r} must be a dict, as in '
            "tuners=[dict(type='AdaptFormer')]."
        )
    settings = dict(config)
    name = settings.pop('type', None)
    name = name.__name__ if isinstance(name, type) else str(name)
    name = name.removeprefix('lift_mm.')
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
    """Attach tuners to a frozen net, in the order of :attr:`Tuner.order`.

    Args:
        net: A net whose parameters are frozen.
        tuners: Configs (``dict(type='AdaptFormer', ...)``) or objects.
        num_classes: What LIFT's size rules start from.

    Returns:
        The tuners' :meth:`Tuner.spec`, with automatic sizes filled in.

    Raises:
        ValueError: A tuner does not exist or does not fit the net.
    """
    if isinstance(tuners, (dict, str)) or not isinstance(tuners, Iterable):
        raise ValueError(
            f'tuners={tuners!r} must be a list, as in '
            "tuners=[dict(type='AdaptFormer')] (key `backbone.tuners`)."
        )
    tuners = [build_tuner(config, i) for i, config in enumerate(tuners)]
    if not tuners:
        return []
    blocks = find_blocks(net)
    for tuner in sorted(tuners, key=lambda tuner: tuner.order):
        if blocks[0].residual and not tuner.resnets:
            known = sorted(TUNERS.module_dict.items())
            fit = ', '.join(name for name, cls in known if cls.resnets)
            raise ValueError(
                f'{type(tuner).__name__} works on attention, MLP or tokens, '
                f'and {type(net).__name__} is a ResNet, which has no '
                f'transformer blocks; these work there: {fit} (key '
                '`backbone.tuners`).'
            )
        tuner.attach(net, blocks, num_classes)
    return [tuner.spec() for tuner in tuners]


@contextlib.contextmanager
def disabled(net: nn.Module):
    """Compute without tuners inside this context: the base net's function.

    Args:
        net: A net with tuners, or a model around it.
    """
    modules = [m for m in net.modules() if isinstance(m, TunerModule)]
    guards = [m for m in net.modules() if hasattr(m, 'swap_originals')]
    before = [m.enabled for m in modules]
    active = [guard for guard in guards if guard.tuned]
    try:
        for module in modules:
            module.enabled = False
        for guard in active:
            guard.swap_originals()
        yield net
    finally:
        for module, enabled in zip(modules, before):
            module.enabled = enabled
        for guard in active:
            guard.swap_originals()
