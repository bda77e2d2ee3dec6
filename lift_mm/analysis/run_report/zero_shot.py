"""Zero-shot CLIP, to compare a run with."""

import os

from mmengine.config import Config

from lift_mm.models.class_names import zero_shot_config

from .facts import Facts, tested
from .files import run_files


def zero_shot_facts(run: str | os.PathLike) -> Facts | None:
    """Test zero-shot CLIP on the test images of a run.

    Args:
        run: Work directory, or one of its checkpoints.

    Returns:
        None where the run's backbone is not of a CLIP.
    """
    config, _ = run_files(run)
    cfg = Config.fromfile(config)
    try:
        cfg.model = zero_shot_config(cfg.model, cfg.model.head.num_classes)
    except ValueError:  # without text there is no zero-shot
        return None
    return tested(cfg, None, 'zero-shot CLIP')
