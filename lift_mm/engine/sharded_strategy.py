"""The same for mmengine's ``FlexibleRunner``: a strategy that shards."""

import time
from collections.abc import Callable

import mmengine
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.runner import FlexibleRunner, weights_to_cpu
from mmengine.runner.checkpoint import save_checkpoint
from torch import nn

from lift_mm.registry import STRATEGIES

from .checkpoint_hook import WHOLE
from .lr_scaling import of_a_batch
from .sharding import (
    WRAPPER,
    check_checkpoint,
    check_hooks,
    check_processes,
    check_wrapper,
    shard,
)
from .unwrap import unwrap


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """mmengine's DDP, whose processes share the frozen backbone among them.

    ``runner_type='FlexibleRunner'`` and
    ``strategy=dict(type='lift_mm.ShardedStrategy')`` do what
    :class:`~.sharded_runner.ShardedRunner` does, down to the bits and to the
    checkpoints, which each resumes of the other.

    A ``FlexibleRunner`` starts and loads a model before its hooks know of
    the run. Here :class:`~.class_info_hook.ClassInfoHook` starts it, as soon
    as the class names are told.

    Args:
        **kwargs: For mmengine's ``DDPStrategy``.

    Raises:
        ValueError: As of the runner.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_processes(self.distributed, name)
        check_wrapper(self.model_wrapper, name, 'strategy.model_wrapper')

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        return model

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        shard(model)
        wrapper = self.model_wrapper or dict(
            type=WRAPPER, broadcast_buffers=False
        )
        if get_device() == 'cpu':
            # mmengine names a GPU.
            wrapper = dict(wrapper, device_ids=None)
        self.model_wrapper = wrapper
        model = super()._wrap_model(model)
        model.register_forward_pre_hook(_check_started)
        return model

    def _scale_lr(self) -> None:
        self._auto_scale_lr = of_a_batch(
            self._auto_scale_lr, self.optim_wrapper
        )
        super()._scale_lr()

    def load_checkpoint(
        self, filename: str, *, callback: Callable | None = None, **kwargs
    ) -> dict:
        """Load one that leaves the base weights out."""

        def check(checkpoint: dict) -> None:
            check_checkpoint(self.model, checkpoint)
            if callback is not None:
                callback(checkpoint)

        return super().load_checkpoint(filename, callback=check, **kwargs)

    def model_state_dict(self) -> dict:
        """Give the state under the names that mmengine's runner saves."""
        return weights_to_cpu(self.model.module.state_dict())

    @master_only
    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write what mmengine's runner would, whole or not at all.

        mmengine's strategies do not know ``backend_args``.
        """
        checkpoint = dict(extra_ckpt or {}, state_dict=self.model_state_dict())
        checkpoint['meta'] = dict(
            checkpoint.get('meta', {}),
            seed=self.seed,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
        )
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        if callback is not None:
            callback(checkpoint)
        backend = None if '://' in filename else WHOLE
        save_checkpoint(checkpoint, filename, backend_args=backend)


def check_flexible(runner) -> None:
    """Refuse a ``FlexibleRunner`` that cannot run a recipe.

    Raises:
        ValueError: It has a strategy of mmengine's, or a hook that needs
            whole base weights.
    """
    if not isinstance(runner, FlexibleRunner):
        return
    if not isinstance(runner.strategy, ShardedStrategy):
        raise ValueError(
            f'A {type(runner.strategy).__name__} starts the model before '
            'class names are known and writes checkpoints that a kill can '
            "tear: take strategy=dict(type='lift_mm.ShardedStrategy'), or "
            'drop the key `runner_type`.'
        )
    check_hooks(runner.hooks)


def _check_started(model: nn.Module, args: tuple) -> None:
    if model.training and not unwrap(model).is_init:
        raise ValueError(
            'Nothing has started the model, which ShardedStrategy leaves to '
            "a hook: put dict(type='lift_mm.ClassInfoHook') into "
            '`custom_hooks`.'
        )
