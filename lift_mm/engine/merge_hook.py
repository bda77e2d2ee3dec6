"""Test a model with its tuners folded into the weights."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from lift_mm.apis import merge
from lift_mm.registry import HOOKS
from lift_mm.tuners import FrozenBase

from .sharding import is_sharded


@HOOKS.register_module()
class MergeHook(Hook):
    """Let a test score what :func:`lift_mm.apis.merge` makes of the model.

    The merged model computes the same function and is as fast as the plain
    backbone. The log names what stays because it cannot be merged. Wrappers
    (DDP, test-time augmentation) stay around the merged model, which keeps
    its place in ``runner.model`` afterwards.
    """

    # The model is filled and started in before_test, and EMA puts its
    # weights into it before an epoch.
    priority = 'LOWEST'

    def before_test_epoch(self, runner) -> None:
        """Put the merged model into the place of the model.

        Raises:
            ValueError: The weights are spread over processes.
        """
        holder, name = runner, 'model'
        model: nn.Module = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            if isinstance(model, FullyShardedDataParallel):
                raise ValueError(
                    f'{type(model).__name__} spreads weights over processes, '
                    'and tuners are folded into whole ones: test without '
                    '`--merge`, or with another `model_wrapper_cfg.type`.'
                )
            holder, name, model = model, 'module', model.module
        if is_sharded(model):
            raise ValueError(
                'A sharded base is spread over processes, and tuners are '
                'folded into whole weights: test without `--merge`, or drop '
                'the key `runner_type`.'
            )
        tuned = any(isinstance(m, FrozenBase) for m in model.modules())
        if not tuned:
            print_log(
                f'Nothing to merge: {type(model).__name__} has no tuners.',
                logger='current',
                level=logging.WARNING,
            )
            return
        merged = merge(model)  # says what stays
        setattr(holder, name, merged)
        if not merged.unmerged:
            print_log('Merged: no tuner stays.', logger='current')
