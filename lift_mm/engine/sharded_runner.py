"""mmengine's runner for backbones that do not fit one GPU."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from lift_mm.registry import RUNNERS

from .sharding import (
    check_checkpoint,
    check_hooks,
    check_processes,
    check_wrapper,
    shard,
    start,
)


@RUNNERS.register_module()
class ShardedRunner(Runner):
    """A runner whose processes share the frozen backbone among them.

    ``runner_type='lift_mm.ShardedRunner'`` in a config is all it takes; the
    other keys, loops and hooks are those of mmengine's runner. What learns
    is trained by DDP as ever (see :func:`~.sharding.shard`), so a checkpoint
    is the same file as without sharding, and resumes with it or without.

    Raises:
        ValueError: There is one process only, or the config asks for what
            needs whole base weights.
    """

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """Shard the backbone, then wrap what learns in DDP.

        Raises:
            ValueError: There is one process only, or the wrapper shards, too.
        """
        name = type(self).__name__
        check_processes(self.distributed, name)
        check_wrapper(model_wrapper_cfg, name, 'model_wrapper_cfg')
        shard(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        """Refuse hooks that would read base weights as whole tensors.

        Raises:
            ValueError: A hook copies the model, or none leaves the base out of
                checkpoints.
        """
        super().register_hooks(default_hooks, custom_hooks)
        check_hooks(self.hooks)
        self.register_hook(_WholeBaseHook())

    def _init_model_weights(self) -> None:
        start(self.model.module)


class _WholeBaseHook(Hook):
    """Refuse checkpoints that bring base weights along."""

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        check_checkpoint(runner.model, checkpoint)
