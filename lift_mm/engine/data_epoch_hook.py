"""The epoch for datasets and transforms, under mmengine's own loop."""

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from lift_mm.datasets.randomness import begin_epoch
from lift_mm.registry import HOOKS


@HOOKS.register_module()
class DataEpochHook(Hook):
    """Tell the training data which epoch begins, of how many.

    ``lift_mm.ResumableEpochLoop`` does so itself. Under mmengine's
    ``EpochBasedTrainLoop`` this hook does, for transforms that change with
    the epoch (``lift_mm.MinimalistRandomResizedCrop``) in any dataset, and
    for the repeatable random choices of ``lift_mm``'s datasets.
    """

    def before_train(self, runner: Runner) -> None:
        """Refuse a loop that has no epochs.

        Raises:
            ValueError: The loop counts iterations.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'DataEpochHook finds no epochs in a '
                f'{type(runner.train_loop).__name__}; train by epochs '
                '(`train_cfg=dict(by_epoch=True, max_epochs=...)`) or take '
                'the hook out of `custom_hooks`.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Reach the dataset before its workers ask for images."""
        begin_epoch(
            runner.train_dataloader.dataset,
            runner.epoch,
            runner.max_epochs,
            runner.seed,
        )
