"""Rows of a linear probe."""

import importlib.util
import logging
import time
import warnings

import torch
import torch.nn.functional as F
from mmengine import dist
from mmengine.logging import print_log
from torch import Tensor

from lift_mm.registry import WEIGHT_INITIALIZERS

from .image_init import ImageInit

# Rounds of the solver in the published programs.
_MAX_ITER = 100


def linear_probe_rows(features: Tensor, labels: Tensor) -> Tensor:
    """Give the directions of a balanced logistic regression.

    scikit-learn's with L2 penalty and lbfgs; the intercept is dropped
    (LIFT, head initialisation ``linear_probe``).

    Args:
        features: (N, D) in float32.
        labels: (N,), every class 0..C-1 at least once, C > 1.

    Returns:
        (C, D) in float32, rows of unit length.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(max_iter=_MAX_ITER, class_weight='balanced')
    size = f'{len(labels)} images of {int(labels.max()) + 1} classes'
    print_log(f'Fitting a linear probe to {size}.', logger='current')
    begin = time.time()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # said below
        probe.fit(features.numpy(), labels.numpy())
    print_log(
        f'Fitted a linear probe to {size} in {time.time() - begin:.1f} s.',
        logger='current',
    )
    if probe.n_iter_.max() >= _MAX_ITER:
        print_log(
            f'The linear probe has not converged in {_MAX_ITER} rounds; LIFT '
            'takes its rows all the same.',
            logger='current',
            level=logging.WARNING,
        )
    rows = torch.from_numpy(probe.coef_).double()
    if len(rows) == 1:  # two classes have one boundary
        rows = torch.cat([-rows, rows])
    return F.normalize(rows, dim=-1).float()


@WEIGHT_INITIALIZERS.register_module()
class LinearProbeInit(ImageInit):
    """Rows of a logistic regression on the features (LIFT,
    ``linear_probe``).

    Features are kept in memory, 4 N D bytes. One process fits while the
    others wait: where that takes longer than they may wait (``timeout`` in
    ``env_cfg.dist_cfg``), start the run once with one process, whose rows
    the cache keeps.

    Args: See :class:`ImageInit`.

    Raises:
        ImportError: scikit-learn is not installed.
    """

    def __init__(self, *args, **kwargs) -> None:
        if importlib.util.find_spec('sklearn') is None:
            raise ImportError(
                'LinearProbeInit fits with scikit-learn, which is not '
                "installed: run `pip install 'lift_mm[probe]'`, or choose "
                "dict(type='ClassMeanInit') (key `model.head.init`)."
            )
        super().__init__(*args, **kwargs)

    def rows(self, batches, labels, shape) -> Tensor:
        """See :meth:`ImageInit.rows`."""
        if shape[0] < 2:
            raise ValueError(
                'LinearProbeInit tells classes apart and there is '
                f'num_classes={shape[0]} (key `model.head.num_classes`).'
            )
        features = torch.zeros(len(labels), shape[1])
        for where, feature in batches:
            features[where] = feature
        dist.all_reduce(features)  # zero where another rank has the image
        rows = torch.zeros(shape)
        if dist.is_main_process():
            rows = linear_probe_rows(features, labels)
        dist.broadcast(rows)
        return rows
