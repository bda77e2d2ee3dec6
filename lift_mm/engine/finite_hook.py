"""A loss that is no number ends a run before anything is saved."""

import math

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lift_mm.registry import HOOKS
from lift_mm.tuners import learned_parameters

from .unwrap import unwrap

_SHOWN = 8


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop at the first NaN or infinity, and keep the last good checkpoint.

    The loss counts: gradients that overflow in float16 are skipped by the
    loss scaler and are no fault. mmengine has read the loss for its log by
    then, so that no device waits once more. What has been learned is looked
    at before it is saved, because a step of this or another process may have
    spoiled it.
    """

    # After mmengine has noted the loss, before anything is saved.
    priority = 'HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the parts of the loss.

        Raises:
            FloatingPointError: One of them is not finite.
        """
        hub = runner.message_hub
        bad = {
            key: value
            for key in outputs or ()
            if 'loss' in key
            and not math.isfinite(
                value := hub.get_scalar(f'train/{key}').current()
            )
        }
        if bad:
            parts = ', '.join(f'{key}={value}' for key, value in bad.items())
            rates = {
                f'{hub.get_scalar(f"train/{key}").current():g}'
                for key in runner.optim_wrapper.get_lr()
            }
            raise FloatingPointError(
                f'The loss is not finite in iteration {runner.iter + 1}, '
                f'epoch {runner.epoch + 1}, rank {get_rank()} ({parts}), at '
                f'learning rate {", ".join(sorted(rates))}, with '
                f'{_files(data_batch)}; nothing of it was saved (key '
                '`optim_wrapper.optimizer.lr`).'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at what is about to be saved.

        Raises:
            FloatingPointError: A learned tensor is not finite.
        """
        state = checkpoint['state_dict']
        for key in learned_parameters(unwrap(runner.model)):
            if not state[key].isfinite().all():
                raise FloatingPointError(
                    f'{key} is not finite after iteration '
                    f'{checkpoint["meta"]["iter"]} and was not saved (key '
                    '`optim_wrapper.optimizer.lr`).'
                )


def _files(data_batch: dict | None) -> str:
    """Name the images of a batch, not all of a large one."""
    samples = (data_batch or {}).get('data_samples') or []
    paths = [sample.get('img_path', None) for sample in samples]
    paths = [str(path) for path in paths if path]
    if not paths:
        return f'{len(samples)} images without names'
    more = len(paths) - _SHOWN
    rest = f' and {more} more' if more > 0 else ''
    return ', '.join(paths[:_SHOWN]) + rest
