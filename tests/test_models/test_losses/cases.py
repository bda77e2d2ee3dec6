"""The losses that the laws are about, and a batch."""

import torch
import torch.nn.functional as F

from lift_mm.registry import MODELS

NAMES = ['fox', 'owl', 'elk', 'yak', 'ant', 'bee', 'cat']
COUNTS = [500, 250, 120, 60, 30, 12, 1]
# Other settings than the defaults as well: a new loss is a new row.
LOSSES = dict(
    balanced_softmax=dict(type='BalancedSoftmaxLoss'),
    class_balanced=dict(type='ClassBalancedLoss'),
    class_balanced_short=dict(type='ClassBalancedLoss', beta=0.99),
    focal=dict(type='SoftmaxFocalLoss'),
    focal_half=dict(type='SoftmaxFocalLoss', gamma=0.5),
    lade=dict(type='LADELoss'),
    lade_strong=dict(type='LADELoss', weight=0.7, remine_lambda=0.3),
    ldam=dict(type='LDAMLoss', scale=3.0),
    ldam_wide=dict(type='LDAMLoss', max_margin=0.9, scale=25),
    logit_adjusted=dict(type='LogitAdjustedLoss'),
    logit_adjusted_strong=dict(type='LogitAdjustedLoss', tau=1.5),
    reweighted=dict(type='GeneralizedReweightLoss'),
    reweighted_root=dict(type='GeneralizedReweightLoss', exponent=0.5),
)
FOCAL = ['focal', 'focal_half']
LADE = ['lade', 'lade_strong']
WEIGHTED = [name for name, case in LOSSES.items() if 'weight' in name] + [
    'class_balanced',
    'class_balanced_short',
]
COUNTING = [name for name in LOSSES if name not in FOCAL]
HARD = [name for name in LOSSES if name[:4] in ('lade', 'ldam')]
SOFT = [name for name in LOSSES if name not in HARD]


def build(name, counts=COUNTS, **settings):
    """Build a loss; counts go to those that take them."""
    if name in COUNTING:
        settings.setdefault('class_counts', counts)
    config = dict(LOSSES[name], **settings)
    return MODELS.build(dict(config, type=f'lift_mm.{config["type"]}'))


def batch(size=9, seed=0):
    """Give logits (B, 7) and labels (B,), some classes without a label."""
    torch.manual_seed(seed)
    return 3 * torch.randn(size, 7), torch.arange(size) ** 2 % 7


def one_hot(labels):
    return F.one_hot(labels, 7).float()


def formula():
    """Give logits (11, 7) and labels by a formula, and counts."""
    i, j = torch.meshgrid(torch.arange(11.0), torch.arange(7.0), indexing='ij')
    logits = 4 * torch.sin(0.37 * i + 0.9 * j) + 0.5 * torch.cos(1.3 * i * j)
    k = torch.arange(11)
    return logits, (3 * k**2 + k) % 7, [500, 250, 120, 60, 30, 12, 5]
