"""A run's model as a test would see it, and what it makes of images."""

import atexit
import copy
import itertools
import os
import shutil
import tempfile
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lift_mm.models.inits.train_images import TrainImages, images_of
from lift_mm.progress import track

_numbers = itertools.count()


class View(NamedTuple):
    """What a model makes of N images.

    Attributes:
        features: Output of the backbone, before neck and head, (N, D).
        logits: (N, C).
        labels: True classes, (N,).
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


def ready_run(cfg: Config, checkpoint: str | os.PathLike | None) -> Runner:
    """Build a run and bring it to where a test would begin.

    Args:
        cfg: The config of a training run; it is left as it is.
        checkpoint: What it learned; None takes the model as it starts,
            which is zero-shot where the head starts from class names.

    Returns:
        The runner; its model is in eval mode.

    Raises:
        ValueError: The config has no test.
    """
    cfg = copy.deepcopy(cfg)
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            'The config has no test images (key `test_dataloader`).'
        )
    # The log of an analysis is of no use beside those of the run.
    cfg.work_dir = tempfile.mkdtemp(prefix='lift_mm-')
    atexit.register(shutil.rmtree, cfg.work_dir, ignore_errors=True)
    cfg.load_from = checkpoint and os.fspath(checkpoint)
    cfg.resume = False
    cfg.launcher = 'none'
    cfg.log_level = 'WARNING'
    # mmengine tells the runs of one process apart by this name.
    cfg.experiment_name = f'analysis_{os.getpid()}_{next(_numbers)}'
    runner = Runner.from_cfg(cfg)
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    runner.call_hook('before_run')
    runner.load_or_resume()
    runner.call_hook('before_test')
    runner.model.eval()
    return runner


def seen_as_test(dataset, runner: Runner) -> TrainImages:
    """Give the images of a dataset through the transforms of the test."""
    test, _ = images_of(runner.test_dataloader.dataset)[0]
    steps = test.pipeline.transforms
    return TrainImages(dataset, runner.model.backbone, pipeline=steps)


@torch.no_grad()
def view(
    model: nn.Module,
    images: TrainImages,
    batch_size: int = 64,
    num_workers: int = 0,
    what: str = '',
) -> View:
    """Show images to a model.

    Args:
        model: An ``ImageClassifier`` in eval mode.
        images: The images.
        batch_size: Images a batch.
        num_workers: Processes that load them.
        what: What to call this where progress is shown; '' shows none.

    Returns:
        All of it in float32, on the CPU.
    """
    loader = DataLoader(images, batch_size, num_workers=num_workers)
    batches = track(
        loader, what, len(images), len, show=bool(what), logger=None
    )
    features, logits = [], []
    for batch in batches:
        inputs = model.data_preprocessor(dict(inputs=batch), False)['inputs']
        found = model.extract_feat(inputs, stage='backbone')
        last = found[-1] if isinstance(found, (tuple, list)) else found
        if last.ndim == 4:  # of a convolutional net, (B, D, H, W)
            last = last.mean((2, 3))
        neck = model.neck(found) if model.with_neck else found
        features.append(last.float().cpu())
        logits.append(model.head(neck).float().cpu())
    labels = torch.from_numpy(images.labels)
    return View(torch.cat(features), torch.cat(logits), labels)
