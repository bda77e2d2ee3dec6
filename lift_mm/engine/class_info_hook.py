"""Hand class names and counts from the data to whoever needs them."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner
from mmpretrain.registry import DATASETS

from lift_mm.registry import HOOKS
from lift_mm.tuners import frozen_keys

from .sharded_strategy import check_flexible
from .sharding import start
from .unwrap import unwrap

Counts = list[int] | None


def class_info(dataset) -> tuple[Sequence[str] | None, Counts]:
    """Give class names and images per class of a dataset.

    Datasets of lift_mm put both into ``metainfo``; those of mmpretrain know
    the names, and their labels are counted here.
    """
    meta = getattr(dataset, 'metainfo', None) or {}
    names, counts = meta.get('classes'), meta.get('class_counts')
    parts = getattr(dataset, 'datasets', ())
    if parts:  # joined datasets show the metainfo of the first one
        counts = [class_info(part)[1] for part in parts]
        counts = None if None in counts else [sum(n) for n in zip(*counts)]
    elif names is not None and counts is None:
        while not hasattr(dataset, 'get_gt_labels'):
            if not hasattr(dataset, 'dataset'):
                return names, None
            dataset = dataset.dataset
        labels = dataset.get_gt_labels().tolist()
        counts = [0] * len(names)
        for label in labels:
            counts[label] += 1
    return names, counts


@HOOKS.register_module()
class ClassInfoHook(Hook):
    """Fill in class names and training counts, before anything starts.

    ``before_run`` is the one moment when the dataset exists and neither
    initialisation nor loading has happened. The head's ``init_weights``
    then starts from the names, or from the training set, which is handed
    over to an init with ``set_data``; when a checkpoint is going to be
    loaded, that work is skipped. A ``FlexibleRunner`` loads earlier: what
    has not happened by then is done here. A test without a checkpoint scores
    the model as it would start (zero-shot).

    Where a test has no training set at hand, the metric's counts are those
    of its config, of the checkpoint, or of the training set in the config.
    """

    # Before EMA copies the model, which must have the same buffers.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._informed = False
        self._loaded = False
        self._counted = False
        self._headless = False

    def before_run(self, runner) -> None:
        """See the class.

        Raises:
            ValueError: Training and test classes differ, the head has
                another number of classes, or the config recomputes
                activations in a way that tuners do not survive.
        """
        _refuse_recomputation(runner)
        check_flexible(runner)
        if not self._informed:
            self._inform(runner)

    def _inform(self, runner) -> None:
        """Tell what the data know, before anything is loaded."""
        train = _dataset(runner._train_loop)
        test = _dataset(runner._val_loop) or _dataset(runner._test_loop)
        names, counts = class_info(train) if train else (None, None)
        if test is not None:
            # Its labels may be unknown: names are all that is asked for.
            meta = getattr(test, 'metainfo', None) or {}
            test_names = meta.get('classes')
            if names and test_names and list(names) != list(test_names):
                raise ValueError(
                    f'The training set has {len(names)} classes and the '
                    f'other {len(test_names)}, or the names differ: '
                    f'{_difference(names, test_names)} (dataset key '
                    '`classes` or `metainfo`).'
                )
            names = names or test_names
        self._tell(runner, names, counts)
        head = getattr(unwrap(runner.model), 'head', None)
        if train is not None and head is not None:
            if _will_load(runner):
                head.is_init = True  # the checkpoint brings the rows
            else:
                self._give_data(runner)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take counts from the checkpoint; leave out a head of another kind.

        The model has not been filled yet. A head that the checkpoint lacks
        starts afterwards, maybe from features of the base in it.
        """
        if isinstance(runner, FlexibleRunner) and not self._informed:
            self._informed = True
            self._inform(runner)
            self._start(runner)
        self._loaded = True
        meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
        if not self._counted and meta.get('class_counts'):
            self._tell(runner, meta['classes'], list(meta['class_counts']))
        state = checkpoint.get('state_dict', checkpoint)
        head = getattr(unwrap(runner.model), 'head', None)
        if head is None or not hasattr(head, 'init_weights'):
            return
        stored = {k.removeprefix('module.'): k for k in state}
        heads = {k: v for k, v in stored.items() if k.startswith('head.')}
        frozen = frozen_keys(head)
        self._headless = any(
            f'head.{key}' not in heads
            or state[heads[f'head.{key}']].shape != value.shape
            for key, value in head.state_dict().items()
            if key not in frozen  # of a text tower, which brings them along
        )
        if self._headless:
            print_log(
                'The checkpoint has no head that fits; it starts as in a new '
                'run.',
                logger='current',
            )
            for key in heads.values():  # half a head would overwrite rows
                del state[key]

    def _start_head(self, runner) -> None:
        """Start a head that the loaded checkpoint does not have."""
        if self._headless:
            self._headless = False
            head = unwrap(runner.model).head
            head.is_init = False
            self._give_data(runner)
            head.init_weights()

    def _start(self, runner) -> None:
        """Start a model to train, as ``Runner`` does by itself."""
        if isinstance(runner, FlexibleRunner) and _dataset(runner._train_loop):
            model = unwrap(runner.model)
            if not model.is_init:
                start(model)

    def before_train(self, runner) -> None:
        """Start what nothing has started, and no checkpoint has brought."""
        self._start(runner)
        self._start_head(runner)

    def after_run(self, runner) -> None:
        """Let a test after the training inform what it brings."""
        self._informed = False

    def before_val(self, runner) -> None:
        """See above, and make sure that the metric knows the counts."""
        self._start_head(runner)
        self._complete(runner, runner.val_evaluator)

    def before_test(self, runner) -> None:
        """Start a model that no checkpoint has filled, and see above."""
        model = unwrap(runner.model)
        if not self._loaded and not model.is_init:
            print_log(
                'No checkpoint: testing the model as it starts.',
                logger='current',
            )
            self._give_data(runner)
            model.init_weights()
        self._start_head(runner)
        self._complete(runner, runner.test_evaluator)

    def _give_data(self, runner) -> None:
        """Hand the training set to an init that starts from its images."""
        model = unwrap(runner.model)
        init = getattr(getattr(model, 'head', None), 'init', None)
        if not hasattr(init, 'set_data'):
            return
        loader = getattr(runner._train_loop, 'dataloader', None)
        if loader is None:  # a test: the training set of the config
            config = runner.cfg.get('train_dataloader')
            if config is None:
                raise ValueError(
                    f'{type(init).__name__} starts the head from training '
                    'images, and the config has none: keep '
                    '`train_dataloader`, or test a checkpoint that has a '
                    'head (key `model.head.init`).'
                )
            loader = runner.build_dataloader(config)
        init.set_data(model, loader)

    def _tell(self, runner, names, counts: Counts) -> None:
        """Tell every part that has a ``set_class_info``."""
        if names is None:
            return
        self._counted = counts is not None
        model = unwrap(runner.model)
        size = getattr(getattr(model, 'head', None), 'num_classes', None)
        if size not in (None, len(names)):
            raise ValueError(
                f'The head has num_classes={size} (key '
                f'`model.head.num_classes`) and the dataset {len(names)} '
                f'class names, {names[0]!r} to {names[-1]!r}; set the key '
                f'to {len(names)}, or correct the names (dataset key '
                '`classes`).'
            )
        listeners = list(model.modules())
        for loop in (runner._val_loop, runner._test_loop):
            evaluator = getattr(loop, 'evaluator', None)
            listeners += getattr(evaluator, 'metrics', [])
        for listener in listeners:
            if hasattr(listener, 'set_class_info'):
                listener.set_class_info(names, counts)

    def _complete(self, runner, evaluator) -> None:
        """Look for training counts where nothing has brought them."""
        waiting = any(
            getattr(metric, 'class_counts', 0) is None
            for metric in evaluator.metrics
        )
        if self._counted or not waiting:
            return
        loader = runner.cfg.get('train_dataloader')
        if loader is None:
            raise ValueError(
                'The training counts of the classes are unknown, and with '
                'them the many/medium/few groups: test a checkpoint that '
                'lift_mm wrote, keep `train_dataloader` in the config, or '
                'give `test_evaluator.class_counts`.'
            )
        try:
            names, counts = class_info(DATASETS.build(loader['dataset']))
        except Exception as error:
            raise ValueError(
                'The training counts of the classes are unknown, and the '
                f'training set of the config cannot be read ({error}); give '
                '`test_evaluator.class_counts`.'
            ) from error
        self._tell(runner, names, counts)


def _dataset(loop):
    return getattr(getattr(loop, 'dataloader', None), 'dataset', None)


def _will_load(runner) -> bool:
    if runner._load_from is not None:
        return True
    if not runner._resume:
        return False
    from mmengine.runner import find_latest_checkpoint

    return find_latest_checkpoint(runner.work_dir) is not None


def _difference(names, others) -> str:
    for index, (one, other) in enumerate(zip(names, others)):
        if one != other:
            return f'label {index} is {one!r} and {other!r}'
    return 'one list is longer'


def _refuse_recomputation(runner) -> None:
    if runner.cfg.get('activation_checkpointing') is not None:
        raise ValueError(
            'activation_checkpointing recomputes activations in a way that '
            'gives tuners wrong gradients; drop that key, and set '
            "`model.backbone.recompute='block'` instead."
        )
