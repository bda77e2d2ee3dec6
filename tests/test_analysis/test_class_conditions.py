"""Inconsistent class conditions, against definitions written out."""

import numpy as np
import pytest
import torch

from lift_mm.analysis import class_conditions, condition_plot
from lift_mm.analysis.class_conditions import (
    gap,
    inter_class_similarity,
    intra_class_distances,
)

COUNTS = [120, 30, 5]


@pytest.fixture(scope='module')
def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 8, generator=generator)

    def draw(counts, spread):
        labels = torch.repeat_interleave(torch.tensor(counts))
        labels = labels[torch.randperm(len(labels), generator=generator)]
        noise = torch.randn(len(labels), 8, generator=generator)
        return centres[labels] + spread * noise, labels

    return draw(COUNTS, 0.3), draw([20] * 3, 0.6)


@pytest.mark.parametrize('alone', [False, True])
def test_distances(data, alone):
    features, labels = data[0]
    found = intra_class_distances(features, labels, leave_one_out=alone)
    x, y = features.double().numpy(), labels.numpy()
    for i in range(0, len(y), 7):
        others = y == y[i]
        others[i] &= not alone
        mean = x[others].mean(0)
        cosine = mean @ x[i] / np.linalg.norm(mean) / np.linalg.norm(x[i])
        assert found[i].item() == pytest.approx(1 - cosine, abs=1e-12)


def test_alone_in_its_class():
    features, labels = torch.eye(3), torch.tensor([0, 1, 1])
    found = intra_class_distances(features, labels, leave_one_out=True)
    assert found.isnan().tolist() == [True, False, False]
    assert found[1:].tolist() == pytest.approx([1, 1])
    assert intra_class_distances(features, labels)[0] == pytest.approx(0)


def test_the_mean_that_holds_the_image_is_too_near(data):
    """Without the image itself, small classes look no tighter than others."""
    train, _ = data
    few = train[1] == 2
    with_itself = intra_class_distances(*train)[few].mean()
    without = intra_class_distances(*train, leave_one_out=True)[few].mean()
    assert without > 1.3 * with_itself


def test_similarity_is_ordered_from_head_to_tail(data):
    features, labels = data[1]
    found = inter_class_similarity(features, labels, [5, 120, 30])
    means = torch.stack([features[labels == c].mean(0) for c in (1, 2, 0)])
    means = torch.nn.functional.normalize(means.double(), dim=1)
    torch.testing.assert_close(found, means @ means.T, atol=1e-6, rtol=0)
    missing = inter_class_similarity(features, labels, [5, 120, 30, 1])
    assert missing[3].isnan().all() and not missing[:3, :3].isnan().any()


def test_gap():
    train, test = torch.tensor([0.1, 0.2, torch.nan]), torch.tensor([0.6, 0.7])
    found = gap(train, test)
    assert found == pytest.approx(
        dict(train=0.15, test=0.65, gap=0.5, w1=0.5, ks=1.0)
    )
    assert all(np.isnan(v) for v in gap(train[:0], test).values())


def test_conditions_and_picture(data):
    found = class_conditions(*data, COUNTS)
    groups = found['groups']
    assert [g['classes'] for g in groups.values()] == [1, 1, 1]
    assert groups['few']['images'] == dict(train=5, test=20)
    # A test that spreads more than the training is further from its means.
    assert all(g['gap'] > 0.03 for g in groups.values())
    fair = groups['few']['leave_one_out']
    assert 0 < fair['gap'] < groups['few']['gap']
    assert found['class_gap'][2].item() == pytest.approx(fair['gap'])
    similarity = found['similarity']
    between = (similarity.sum() - 3) / 6
    assert found['between'] == pytest.approx(between.item())
    same = class_conditions(data[0], data[0], COUNTS)
    assert same['groups']['many']['w1'] == 0
    picture = condition_plot({'zero-shot': found, 'a $b': same})
    assert picture.startswith(b'\x89PNG') and len(picture) > 20_000


def test_picture_of_a_tail_without_images(data):
    """No class is many-shot, and one has no test image."""
    features, labels = data[0]
    test = features[labels < 2], labels[labels < 2]
    found = class_conditions((features, labels), test, [30, 30, 5])
    assert np.isnan(found['groups']['few']['w1'])
    assert condition_plot({'one': found}).startswith(b'\x89PNG')
