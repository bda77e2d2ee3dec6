"""An optimizer that holds only what learns."""

from collections.abc import Iterable

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn, optim

from lift_mm.accelerator import amp_defaults, without_amp
from lift_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS
from lift_mm.tuners import learned_parameters, learned_parts

# One kernel for all tensors of a device, on GPUs and CPUs.
_FUSED = (optim.SGD, optim.Adam, optim.AdamW)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TunedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give the optimizer learned parameters only, and say how many.

    mmengine's own passes frozen ones too (their indices end in every
    checkpoint) or, with ``paramwise_cfg``, warns about each of them.
    ``paramwise_cfg`` works as there; without it weight decay acts on
    everything learned, as in LIFT.

    SGD, Adam and AdamW step by their fused kernels unless ``optimizer`` says
    ``fused`` or ``foreach``. An ``AmpOptimWrapper`` without a ``dtype``
    computes in bfloat16 on GPUs that have it, and then without a loss scale;
    in float16 on others; and in fp32, with a warning, without an
    accelerator. A checkpoint resumes on any of these machines.
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
        self.optim_wrapper_cfg = amp_defaults(
            without_amp(self.optim_wrapper_cfg)
        )
        if _can_fuse(self.optimizer_cfg, learned.values()):
            self.optimizer_cfg = dict(self.optimizer_cfg, fused=True)
        if not self.paramwise_cfg:
            model = nn.ParameterList(learned.values())
        wrapper = super().__call__(model)
        wrapper.optimizer.register_load_state_dict_pre_hook(_keep_kernels)
        return wrapper

    def add_params(self, params, module, prefix='', is_dcn_module=None):
        """Skip modules in which nothing learns."""
        if learned_parameters(module):
            super().add_params(params, module, prefix, is_dcn_module)


def _can_fuse(config: dict, parameters: Iterable[Tensor]) -> bool:
    """Whether an optimizer steps by a fused kernel if it is told to."""
    if {'fused', 'foreach', 'differentiable'} & config.keys():
        return False
    kind = config['type']
    if isinstance(kind, str):
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return kind in _FUSED and all(
        p.device.type in ('cuda', 'cpu') and p.is_floating_point()
        for p in parameters
    )


def _keep_kernels(optimizer: optim.Optimizer, state: dict) -> dict:
    """Let a state from another machine leave the choice of kernels alone.

    torch saves the choice, and would take over that of the other machine,
    whose kernels this one may lack.
    """
    groups = [dict(group) for group in state['param_groups']]
    for group, own in zip(groups, optimizer.param_groups):
        group.update((k, own[k]) for k in ('foreach', 'fused') if k in own)
    return dict(state, param_groups=groups)


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
