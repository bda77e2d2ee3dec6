"""Several ranks give the measures of one, to the last digit."""

import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from ranks import run_ranks
from torch.utils.data import DataLoader

from lift_mm.evaluation import LongTailMetric
from lift_mm.models import MeanLogitTTA

COUNTS = [500, 60, 30, 5, 3]
# Images, batch size, and what it grows by from rank to rank.
CASES = [(23, 4, 0), (23, 4, 1), (24, 5, 2), (2, 3, 0), (1, 1, 0)]


class Pixels(torch.nn.Module):
    """A backbone whose features are the pixels themselves."""

    def forward(self, x):
        return (x.flatten(1),)


def pixel_classifier():
    head = dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=5)
    model = ImageClassifier(Pixels(), head=head, data_preprocessor={})
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.eye(5))
        model.head.fc.bias.zero_()
    return model


def images(number, views):
    """Make images of random logits; the true class is mostly ahead."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(number):
        label = int(torch.randint(5, (), generator=generator))
        crops = torch.randn(views, 5, 1, 1, generator=generator)
        # Sums of such numbers are exact: torch orders the sum over views by
        # the batch's size, and only gathering is to be tested.
        crops = (crops * 8).round() / 8
        crops[:, label] += 1
        sample = DataSample().set_gt_label(label)
        packed = dict(inputs=crops[0], data_samples=sample)
        if views > 1:
            packed = dict(
                inputs=list(crops), data_samples=[sample.clone()] * views
            )
        found.append(packed)
    return found


@torch.no_grad()
def evaluate(case, views, folder, rank=0):
    number, batch, growth = case
    dataset = images(number, views)
    loader = DataLoader(
        dataset,
        batch_size=batch + rank * growth,
        sampler=DefaultSampler(dataset, shuffle=False),
        collate_fn=pseudo_collate,
    )
    model = pixel_classifier()
    model = MeanLogitTTA(module=model) if views > 1 else model
    model.eval()
    dump = f'{folder}/report{rank}_{CASES.index(case)}_{views}'
    evaluator = Evaluator([LongTailMetric(COUNTS, dump=dump)])
    for data in loader:
        evaluator.process(model.test_step(data))
    return evaluator.evaluate(len(dataset))


def evaluate_all(folder, rank=0):
    return [
        evaluate(case, views, folder, rank)
        for case in CASES
        for views in (1, 5)
    ]


def work(folder):
    return evaluate_all(folder, get_rank())


@pytest.mark.parametrize('ranks', [2, 3])
def test_ranks_agree_with_one(ranks, tmp_path):
    (tmp_path / 'alone').mkdir()
    alone = evaluate_all(tmp_path / 'alone')
    for found in run_ranks(work, ranks, str(tmp_path)):
        assert found == alone
    # The main process alone writes, and the same to the last letter.
    written = {path.name: path.read_text() for path in tmp_path.glob('rep*')}
    wanted = (tmp_path / 'alone').glob('rep*')
    assert written == {path.name: path.read_text() for path in wanted}
    assert len(written) == 4 * len(CASES)


def test_the_cases_are_not_trivial(tmp_path):
    plain, ensembled, *_ = evaluate_all(tmp_path)
    assert plain != ensembled
    for result in (plain, ensembled):
        assert 0 < result['lt/acc'] < 100 and 0 < result['lt/ece'] < 100
