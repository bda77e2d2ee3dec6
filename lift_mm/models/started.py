"""A model that is ready to predict, with a checkpoint or without."""

import os
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from mmpretrain.registry import DATASETS

from .class_names import set_class_names
from .tuned_states import load_learned


def build_started(
    config: Config | str | os.PathLike,
    pretrained: bool | str | os.PathLike | None,
    classes: Sequence[str] | None,
    **kwargs,
) -> BaseModel:
    """Build a model, and load a checkpoint or start it from class names.

    Args:
        config: Config, its path, or the name of a recipe.
        pretrained: Checkpoint or published tuned file; True takes
            ``load_from`` of the config, where there is one.
        classes: Names to start from; None takes those of the test set.
        **kwargs: Further keys of ``model`` in the config.

    Returns:
        The model, on the CPU and in eval mode.

    Raises:
        ValueError: The checkpoint is of another model, or there is none and
            the model cannot start from class names.
    """
    model = get_model(config, pretrained=False, device='cpu', **kwargs)
    if not hasattr(model, 'head'):
        raise ValueError(
            f'The config describes a {type(model).__name__}, which is no '
            'classifier with a head; give that of the training run, not one '
            'that a test with --tta has written (key `model.type`).'
        )
    if pretrained is True:
        weights = getattr(model._metainfo, 'weights', None)
        pretrained = model._config.get('load_from') or weights
    if pretrained:
        load_learned(model, pretrained)
    else:
        names = classes or _names_of_test(model._config)
        try:
            set_class_names(model, names)
        except ValueError as error:
            raise ValueError(
                'There is no checkpoint (argument `pretrained`), and the '
                f'model cannot start from class names: {error}'
            ) from error
    return model


def _names_of_test(cfg: Config) -> list[str]:
    try:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            data = DATASETS.build(cfg.test_dataloader.dataset)
    except Exception as error:
        raise ValueError(
            'There is no checkpoint to take class names from, and the test '
            f'set of the config cannot be read ({error}); give a checkpoint '
            'or names (arguments `pretrained` and `classes`).'
        ) from error
    return list(data.metainfo['classes'])
