"""An optimizer that holds only what learns."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from lift_mm.compat import without_amp
from lift_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS
from lift_mm.tuners import learned_parameters, learned_parts


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


def report(model: nn.Module) -> None:
    """Log what of a model learns, part by part.

    The papers' "learned parameters" are those in the backbone.
    """
    total = sum(p.numel() for p in model.parameters())
    parts = learned_parts(model)
    parts['in all'] = sum(parts.values())
    lines = [f'{"learned":<14}{"parameters":>14}{"share":>9}{"bytes":>12}']
    for name, number in parts.items():
        share, size = f'{number / total:.2%}', f'{4 * number / 1e6:.2f} MB'
        lines.append(f'{name:<14}{number:>14,}{share:>9}{size:>12}')
    lines.append(f'{"of":<14}{total:>14,}')
    print_log('\n' + '\n'.join(lines), logger='current')
