"""The metric against the published evaluators."""

import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from parity_data import load, meta

from lift_mm.evaluation import LongTailMetric
from lift_mm.registry import METRICS

NAMES = {
    'accuracy': 'lt/acc',
    'mean_acc': 'lt/acc_mean',
    'many_acc': 'lt/acc_many',
    'med_acc': 'lt/acc_medium',
    'few_acc': 'lt/acc_few',
    'worst_case_acc': 'lt/acc_worst',
    'hmean_acc': 'lt/hmean',
    'gmean_acc': 'lt/gmean',
    'macro_f1': 'lt/f1_macro',
}
KEYS = {*NAMES.values(), 'lt/ece'}


def samples(scores, labels, with_label=True):
    result = []
    for score, label in zip(scores, labels, strict=True):
        sample = DataSample().set_gt_label(int(label)).set_pred_score(score)
        if with_label:
            sample.set_pred_label(score.argmax())
        result.append(sample)
    return result


def measure(metric, scores, labels, batch=128, **kwargs):
    evaluator = Evaluator([metric])
    for start in range(0, len(labels), batch):
        rows = slice(start, start + batch)
        evaluator.process(samples(scores[rows], labels[rows], **kwargs))
    return evaluator.evaluate(len(labels))


def one_hot(guesses, classes):
    return torch.eye(classes)[torch.tensor(guesses)]


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.info',
        lambda self, text: lines.append(text),
    )
    return lines


@pytest.mark.parametrize(
    'run', ['metrics_v1', 'metrics_v1_boosted', 'metrics_plus']
)
@pytest.mark.parametrize('with_label', [True, False])
def test_published_numbers(run, with_label):
    golden = load('evaluator')
    logits, labels = golden['logits'], golden['labels']
    if run.endswith('boosted'):
        rows = golden['boosted_rows']
        logits[rows, labels[rows]] += 30
    metric = LongTailMetric(class_counts=golden['cls_num_list'].tolist())
    result = measure(metric, logits.softmax(1), labels, with_label=with_label)
    assert set(result) == KEYS
    assert all(type(value) is float for value in result.values())
    rel = 1e-6 if run == 'metrics_plus' else 1e-12
    for name, want in meta('evaluator')[run].items():
        if name != 'error_rate':
            assert result[NAMES[name]] == pytest.approx(want, rel), name


def test_groups_of_the_published_run():
    golden = load('evaluator')
    metric = LongTailMetric(class_counts=golden['cls_num_list'].tolist())
    for name, key in (('many', 'many'), ('med', 'medium'), ('few', 'few')):
        want = golden[f'{name}_idxs'].tolist()
        assert metric._groups()[key].tolist() == want


def test_hand_made_case():
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]  # SPEC T17
    guesses = [0, 0, 1, 1, 1, 1, 2, 0, 2, 0, 0, 3]
    metric = LongTailMetric(class_counts=[500, 60, 30, 5])
    result = measure(metric, one_hot(guesses, 4), labels, batch=5)
    want = {
        'lt/acc': 66.6667,
        'lt/acc_mean': 66.6667,
        'lt/f1_macro': 66.428571,
        'lt/acc_worst': 33.3333,
        'lt/hmean': 57.142857,
        'lt/gmean': 62.040324,
        'lt/acc_many': 66.6667,
        'lt/acc_medium': 83.3333,
        'lt/acc_few': 33.3333,
        'lt/ece': 100 / 3,
    }
    assert result == pytest.approx(want, abs=1e-4)


def test_group_counts_and_thresholds():
    scores, labels = one_hot([0, 1, 0], 3), [0, 1, 2]
    metric = LongTailMetric([500, 500, 500], group_counts=[101, 100, 19])
    result = measure(metric, scores, labels)
    assert (result['lt/acc_many'], result['lt/acc_few']) == (100, 0)
    metric = LongTailMetric([9, 5, 1], thresholds=(2, 5))
    result = measure(metric, scores, labels)
    assert (result['lt/acc_medium'], result['lt/acc_few']) == (100, 0)


def test_counts_of_the_test_set_are_not_training_counts():
    metric = LongTailMetric()
    metric.dataset_meta = dict(classes=('a', 'b'), class_counts=[1, 1])
    scores, labels = one_hot([0, 1], 2), [0, 1]
    with pytest.raises(ValueError, match='test_evaluator.class_counts'):
        measure(metric, scores, labels)
    with pytest.raises(ValueError, match='test_evaluator.class_counts'):
        metric.compute_metrics([(0, 0, 1.0)])
    metric.set_class_info(['a', 'b'], [500, 5])
    result = measure(metric, scores, labels)
    assert {'lt/acc_many', 'lt/acc_few'} < set(result)
    # What the user gave goes before what the hook knows.
    metric = LongTailMetric(class_counts=[500, 500])
    metric.set_class_info(['a', 'b'], [500, 5])
    assert metric.class_counts == [500, 500]
    metric = LongTailMetric()
    metric.set_class_info(['a', 'b'])
    metric.set_class_info(None, None)
    assert metric.class_counts is None and metric.class_names == ('a', 'b')


def test_absent_classes_and_empty_groups(log):
    metric = LongTailMetric(class_counts=[500, 400, 50])
    metric.set_class_info(['ant', 'bee', 'cat'])
    for _ in range(2):
        result = measure(metric, one_hot([0, 0], 3), [0, 2])
    want = KEYS - {'lt/acc_few'}
    assert set(result) == want
    assert result['lt/acc_mean'] == 50 and result['lt/acc_many'] == 100
    assert not any(map(math.isnan, result.values()))
    assert len(log) == 2
    assert "class 'bee'." in log[0]
    assert "group 'few'" in log[1] and 'lt/acc_few' in log[1]


def test_repeated_images_of_a_distributed_sampler(monkeypatch):
    metric = LongTailMetric(class_counts=[500, 5])
    batch = samples(one_hot([0, 1, 1], 2), [0, 1, 0])
    metric.process({}, [sample.to_dict() for sample in batch])
    assert len(metric.results) == 3
    assert [type(v) for v in metric.results[0]] == [int, int, float]

    def collect(results, size, device, **kwargs):
        return results[:size]

    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', collect)
    assert metric.evaluate(2)['lt/acc'] == 100


def test_config():
    metric = METRICS.build(dict(type='LongTailMetric', prefix='tail'))
    metric.set_class_info(['a'], [7])
    result = measure(metric, one_hot([0], 1), [0])
    assert result['tail/acc_few'] == 100


def test_refusals():
    with pytest.raises(ValueError, match=r'thresholds=\(100, 20\)'):
        LongTailMetric(thresholds=(100, 20))
    with pytest.raises(ValueError, match='num_bins=0'):
        LongTailMetric(num_bins=0)
    with pytest.raises(ValueError, match='evaluator.class_counts'):
        LongTailMetric(class_counts=[])
    metric = LongTailMetric([5, 5], group_counts=[5, 5, 5])
    with pytest.raises(ValueError, match='3 group counts for 2 classes'):
        measure(metric, one_hot([0], 2), [0])
    with pytest.raises(ValueError, match='from 2 to 2.*2 classes'):
        measure(LongTailMetric([5, 5]), one_hot([0], 2), [2])
    with pytest.raises(ValueError, match='got no image'):
        LongTailMetric([5, 5]).compute_metrics([])


def test_samples_of_any_kind():
    """As the runner gives them, as DataSamples, and as plain numbers."""
    scores, labels = one_hot([0, 1, 1], 2), [0, 1, 0]
    objects = samples(scores, labels)
    dicts = [sample.to_dict() for sample in objects]
    numbers = [
        dict(gt_label=label, pred_label=int(score.argmax()), pred_score=row)
        for label, score, row in zip(labels, scores, scores.numpy())
    ]
    for kind in (objects, dicts, numbers):
        metric = LongTailMetric([5, 5])
        metric.process({}, kind)
        assert metric.results == [(0, 0, 1.0), (1, 1, 1.0), (0, 1, 1.0)]


@pytest.mark.parametrize('key', ['gt_label', 'pred_score'])
def test_sample_without_label_or_score(key):
    (sample,) = samples(one_hot([0], 2), [0])
    sample.pop(key)
    with pytest.raises(ValueError, match=f"no '{key}'.*test_dataloader"):
        LongTailMetric([5, 5]).process({}, [sample])
