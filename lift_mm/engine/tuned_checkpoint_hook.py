"""Keep only what was learned in a checkpoint."""

from mmengine.hooks import Hook

from lift_mm.registry import HOOKS
from lift_mm.tuners import frozen_keys

from .unwrap import unwrap


@HOOKS.register_module()
class TunedCheckpointHook(Hook):
    """Drop base weights from checkpoints: megabytes instead of gigabytes.

    Done while saving and not in ``state_dict()``, which the runner's
    broadcast, EMA and strict loading rely on. ``LongTailClassifier`` names
    its base in the buffer ``fingerprint`` and completes such a file on
    loading.
    """

    # After EMA has put its weights into the checkpoint.
    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Filter ``state_dict`` and ``ema_state_dict`` in place.

        The empty state of a loss scaler that is switched off goes, too: one
        that is on, where a run resumes in float16, refuses to load it.
        """
        frozen = frozen_keys(unwrap(runner.model))
        for name in ('state_dict', 'ema_state_dict'):
            state = checkpoint.get(name)
            if state is None:
                continue
            for key in list(state):
                if key.removeprefix('module.') in frozen:
                    del state[key]
        optimizer = checkpoint.get('optimizer') or {}
        if optimizer.get('loss_scaler') == {}:
            del optimizer['loss_scaler']
