"""Losses against numbers of the published programs."""

import parity_data
import pytest
import torch
from mmpretrain.models.losses import CrossEntropyLoss
from parity_models import relative
from test_models.test_losses.cases import formula

from lift_mm.models.losses import (
    BalancedSoftmaxLoss,
    ClassBalancedLoss,
    GeneralizedReweightLoss,
    LADELoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SoftmaxFocalLoss,
)

CASES = {
    'BS': (BalancedSoftmaxLoss, {}),
    'CB': (ClassBalancedLoss, {}),
    'CB_beta0.999': (ClassBalancedLoss, dict(beta=0.999)),
    'Focal': (SoftmaxFocalLoss, {}),
    'Focal_gamma1': (SoftmaxFocalLoss, dict(gamma=1)),
    'GRW': (GeneralizedReweightLoss, {}),
    'GRW_exp0.5': (GeneralizedReweightLoss, dict(exponent=0.5)),
    'LA': (LogitAdjustedLoss, {}),
    'LA_tau1.5': (LogitAdjustedLoss, dict(tau=1.5)),
    'LADE': (LADELoss, {}),
    'LDAM_s25': (LDAMLoss, dict(scale=25)),
    'LDAM_s30': (LDAMLoss, dict(scale=30)),
}
ALL = [
    pytest.param(repo, case, id=f'{repo}-{case}')
    for repo in ('v1', 'plus')
    for case in [*CASES, 'CE']
]


def build(case, counts):
    kind, settings = CASES[case]
    if kind is not SoftmaxFocalLoss:
        settings = dict(settings, class_counts=counts)
    return kind(**settings)


@pytest.mark.parametrize('repo, case', ALL)
def test_loss_and_gradient(repo, case):
    data = parity_data.load('losses')
    logits = data['logits'].requires_grad_()
    if case == 'CE':  # mmpretrain's
        loss = CrossEntropyLoss()
    else:
        loss = build(case, data['cls_num_list'].tolist())
    value = loss(logits, data['targets'], avg_factor=len(logits))
    value.backward()
    assert relative(value, data[f'{repo}/{case}/loss']) < 1e-5
    grad = data[f'{repo}/{case}/grad_logits']
    assert relative(logits.grad, grad) < 1e-5


def test_no_published_case_is_left_out():
    data = parity_data.load('losses')
    stored = {tuple(k.split('/')[:2]) for k in data if k.endswith('/loss')}
    assert stored == {tuple(case.values) for case in ALL}


@pytest.mark.parametrize(
    'case, key',
    [
        (case, dict(L='margins').get(case[0], 'per_cls_weights'))
        for case in CASES
        if case.startswith(('CB', 'GRW', 'LDAM'))
    ],
)
def test_numbers_of_classes(case, key):
    data = parity_data.load('losses')
    loss = build(case, data['cls_num_list'].tolist())
    got = getattr(loss, loss.statistic)
    assert relative(got, data[f'v1/{case}/{key}']) < 1e-5
    if key == 'per_cls_weights':
        assert got.mean().item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    'case, value, norm',
    [
        ('Focal', 5.0949564, 0.3713483),
        ('CB', 6.1805348, 0.4981041),
        ('GRW', 6.1843982, 0.4990745),
        ('BS', 5.1918983, 0.3419668),
        ('LA', 5.1918983, 0.3419668),
        ('LADE', 5.4296904, 0.3766598),
        ('LDAM_s25', 10.8472853, None),
    ],
)
def test_loss_on_a_formula(case, value, norm):
    logits, labels, counts = formula()
    logits.requires_grad_()
    loss = build(case, counts)(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-5)
    if norm is not None:
        assert logits.grad.norm().item() == pytest.approx(norm, abs=1e-5)


def test_cross_entropy_on_a_formula():
    logits, labels, _ = formula()
    with torch.no_grad():  # a validation loss
        loss = LADELoss().eval()(logits, labels)
    assert loss.item() == pytest.approx(5.2570467, abs=1e-5)


OF_CLASSES = dict(
    LDAM_s25=(
        [0.1581139, 0.1880302, 0.2259005, 0.2686425]
        + [0.3194716, 0.4017142, 0.5]
    ),
    CB=(
        [0.0412413, 0.0814642, 0.1686208, 0.3362303]
        + [0.6714572, 1.6771250, 4.0238605]
    ),
)


@pytest.mark.parametrize('case', OF_CLASSES)
def test_numbers_of_classes_on_a_formula(case):
    loss = build(case, formula()[2])
    got = getattr(loss, loss.statistic)
    # The published weights are of float32, where beta ** n has lost digits.
    limit = 3e-5 if case == 'CB' else 1e-6
    expected = torch.tensor(OF_CLASSES[case])
    torch.testing.assert_close(got, expected, rtol=limit, atol=0)
