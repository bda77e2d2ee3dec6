"""State in the log what was scored and what chose the weights."""

import logging
import os.path as osp
from collections.abc import Mapping

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from lift_mm.registry import HOOKS

from .class_info_hook import class_info
from .protocol import (
    describe,
    is_test_split,
    selectors,
    split_of,
    weights_rule,
)


@HOOKS.register_module()
class ProtocolHook(Hook):
    """Say which split was scored, and how the weights were chosen.

    A number without both cannot be compared: readers of long-tail papers ask
    again and again whether it is of the validation or the test split, and of
    the best or the last epoch. At the start of a training the log says what
    validation is used for, with a warning where it chooses weights on the
    images of the test. After a test it states the split, test-time
    ensembling and where the weights come from.

    A metric that is to choose and that validation cannot give, such as
    ``lt/acc_few`` without few-shot classes, is refused before the first
    step.
    """

    def __init__(self) -> None:
        # What rule gave the weights, and the split on which they were chosen.
        self._rule = (
            'no checkpoint, the model as it starts (zero-shot where its head '
            'starts from class names)'
        )
        self._chosen_on: Mapping | None = None

    def before_train(self, runner) -> None:
        """Say what validation is used for.

        Raises:
            ValueError: Validation cannot give the metric that is to choose.
        """
        if runner.val_loop is None:
            return
        chosen_by = selectors(runner.cfg)
        _refuse_absent_keys(chosen_by, runner.val_loop)
        val = _split(runner.cfg, 'val_dataloader', runner.val_loop)
        tested = is_test_split(val, split_of(runner.cfg, 'test_dataloader'))
        name = describe(val)
        if not chosen_by:
            which = ', the test split' if tested else ''
            _log(
                f'Validation scores {name}{which}; nothing is chosen by it, '
                'the last epoch counts.'
            )
        elif not tested:
            _log(f'Validation on {name} chooses by {_list(chosen_by)}.')
        else:
            places = dict.fromkeys(chosen_by.values())
            keys = ', '.join(f'`{place}`' for place in places)
            _log(
                f'Validation chooses by {_list(chosen_by)} on {name}, which '
                'is the test split, so that its test score will be too good: '
                'validate on other images (key `val_dataloader.dataset`), or '
                f'choose nothing (drop {keys}).',
                logging.WARNING,
            )

    def after_train(self, runner) -> None:
        """Remember that the weights were trained in this run."""
        done = f'iteration {runner.iter} of {runner.max_iters}'
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            done = f'epoch {runner.epoch} of {runner.max_epochs}'
        self._rule = f'as trained in this run, {done}'
        self._chosen_on = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note where the weights come from."""
        # A checkpoint that a program loads later goes under another name.
        path = '' if runner._has_loaded else runner._load_from or ''
        name = osp.basename(path)
        meta = checkpoint.get('meta')
        meta = meta if isinstance(meta, Mapping) else {}
        rule, self._chosen_on = weights_rule(name, meta)
        known = (name, meta.get('experiment_name'))
        origin = ' of '.join(str(part) for part in known if part)
        self._rule = f'{rule}; {origin}' if origin else rule

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Refuse a validation without the metric that is to choose.

        Raises:
            ValueError: It gives other metrics.
        """
        for key, place in selectors(runner.cfg).items() if metrics else ():
            if place.endswith('save_best') and key not in ('auto', *metrics):
                _refuse(key, place, metrics)

    def before_test(self, runner) -> None:
        """Warn where the weights were chosen on what is scored now."""
        scored = _split(runner.cfg, 'test_dataloader', runner.test_loop)
        if self._chosen_on and is_test_split(self._chosen_on, scored):
            _log(
                'The weights were chosen on the split that is scored now '
                f'({describe(scored)}), so that the score is too good: test '
                'the last epoch, or choose by other images (key '
                '`val_dataloader.dataset` of the training).',
                logging.WARNING,
            )

    def after_test(self, runner) -> None:
        """State what the score is of."""
        loop = runner.test_loop
        name = describe(_split(runner.cfg, 'test_dataloader', loop))
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        views = 'no test-time ensembling'
        if isinstance(model, BaseTTAModel):
            views = f'test-time ensembling by {type(model).__name__}'
        _log(
            f'Scored: {name}, {len(loop.dataloader.dataset)} images, {views}. '
            f'Weights: {self._rule}.'
        )


@master_only
def _log(text: str, level: int = logging.INFO) -> None:
    print_log(text, logger='current', level=level)


def _split(cfg: Mapping, loader: str, loop) -> Mapping:
    """Give a dataset's config, or what is known of one built by hand."""
    known = split_of(cfg, loader)
    return known or dict(type=type(loop.dataloader.dataset).__name__)


def _list(chosen_by: dict[str, str]) -> str:
    return ', '.join(chosen_by)


def _refuse_absent_keys(chosen_by: dict[str, str], loop) -> None:
    """Ask the metrics that know their keys before they have scored."""
    known = [m for m in loop.evaluator.metrics if hasattr(m, 'keys')]
    prefixes = tuple(f'{metric.prefix}/' for metric in known)
    chosen_by = {k: v for k, v in chosen_by.items() if k.startswith(prefixes)}
    if not chosen_by:
        return
    counts = class_info(loop.dataloader.dataset)[1]
    given = [key for metric in known for key in metric.keys(counts)]
    for key, place in chosen_by.items():
        if key not in given:
            _refuse(key, place, given)


def _refuse(key: str, place: str, given) -> None:
    raise ValueError(
        f'Validation gives no {key!r} to choose by (a group of classes '
        f'without images has no accuracy), but {", ".join(given)}; name one '
        f'of these (key `{place}`).'
    )
