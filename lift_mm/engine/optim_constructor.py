"""An optimizer that holds only what learns."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from lift_mm.compat import without_amp
from lift_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS
from lift_mm.tuners import FrozenBase, learned_parameters


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TunedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give the optimizer learned parameters only, and say how many.

    mmengine's own passes frozen ones too (their indices end in every
    checkpoint) or, with ``paramwise_cfg``, warns about each of them.
    ``paramwise_cfg`` works as there; without it weight decay acts on
    everything learned, as in LIFT. Without an accelerator mixed precision
    falls back to fp32 with a warning.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper.

        Raises:
            ValueError: Nothing in the model learns.
        """
        model = getattr(model, 'module', model)
        learned = learned_parameters(model)
        if not learned:
            raise ValueError(
                'No parameter of the model learns; list a tuner in '
                '`backbone.tuners` or use a head with weights.'
            )
        report(model)
        self.optim_wrapper_cfg = without_amp(self.optim_wrapper_cfg)
        if not self.paramwise_cfg:
            model = nn.ParameterList(learned.values())
        return super().__call__(model)

    def add_params(self, params, module, prefix='', is_dcn_module=None):
        """Skip modules in which nothing learns."""
        if learned_parameters(module):
            super().add_params(params, module, prefix, is_dcn_module)


def count_learned(model: nn.Module) -> tuple:
    """Count learned parameters.

    Returns:
        Those in frozen nets (the papers' "learned params") and those
        elsewhere (the head).
    """
    prefixes = tuple(
        name.removesuffix('frozen_base')
        for name, module in model.named_modules()
        if isinstance(module, FrozenBase)
    )
    tuned = head = 0
    for name, parameter in learned_parameters(model).items():
        if prefixes and name.startswith(prefixes):
            tuned += parameter.numel()
        else:
            head += parameter.numel()
    return tuned, head


def report(model: nn.Module) -> None:
    """Log how much of a model learns."""
    tuned, head = count_learned(model)
    total = sum(p.numel() for p in model.parameters())
    print_log(
        f'Learning {tuned:,} parameters in the backbone and {head:,} in the '
        f'head: {(tuned + head) / total:.2%} of {total:,}.',
        logger='current',
    )
