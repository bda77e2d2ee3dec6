"""The metric against the published evaluators."""

import json
import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
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


def test_groups_and_thresholds():
    scores, labels = one_hot([0, 1, 0], 3), [0, 1, 2]
    metric = LongTailMetric([500, 500, 500], groups=[101, 100, 19])
    result = measure(metric, scores, labels)
    assert (result['lt/acc_many'], result['lt/acc_few']) == (100, 0)
    metric = LongTailMetric([1000, 900, 800], groups='ir100')
    groups = {name: g.tolist() for name, g in metric._groups().items()}
    assert groups == dict(many=[0], medium=[1], few=[2])
    metric = LongTailMetric([9, 5, 1], thresholds=(2, 5))
    result = measure(metric, scores, labels)
    assert (result['lt/acc_medium'], result['lt/acc_few']) == (100, 0)


@pytest.mark.parametrize('tested', [None, [3, 1, 0], [1, 0, 1], [0, 0, 9]])
def test_keys_are_known_beforehand(tested):
    metric = LongTailMetric([500, 500, 5], prefix='tail')
    labels = [c for c, n in enumerate(tested or [1, 1, 1]) for _ in range(n)]
    result = measure(metric, one_hot([0] * len(labels), 3), labels)
    assert metric.keys(tested) == list(result)


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
    metric = LongTailMetric(class_counts=[500, 400, 50], table=0)
    metric.set_class_info(['ant', 'bee', 'cat'])
    for _ in range(2):
        result = measure(metric, one_hot([0, 0], 3), [0, 2])
    want = KEYS - {'lt/acc_few'}
    assert set(result) == want
    assert result['lt/acc_mean'] == 50 and result['lt/acc_many'] == 100
    assert not any(map(math.isnan, result.values()))
    assert len(log) == 2
    assert 'lt/acc_few is absent: of 0 few-shot classes' in log[0]
    assert '1 of 3 classes have no test images' in log[1]
    assert log[1].endswith("all means: 'bee'.")


def test_many_absent_classes_are_counted(log):
    metric = LongTailMetric(class_counts=[5] * 9, table=0)
    measure(metric, one_hot([0], 9), [0])
    assert '8 of 9 classes' in log[-1]
    assert log[-1].endswith(': 1, 2, 3, 4, 5 and 3 more.')


def test_a_model_that_gives_nan(log):
    scores = torch.tensor([[0.5, 0.5], [math.nan, math.nan]])
    metric = LongTailMetric(class_counts=[500, 5], table=0)
    result = measure(metric, scores, [0, 1])
    assert set(result) == KEYS - {'lt/acc_medium', 'lt/ece'}
    assert log[-1] == 'lt/ece is absent: the model gives NaN for 1 images.'


@pytest.mark.parametrize(
    'stage, kwargs, shown',
    [
        (None, {}, True),
        ('test', {}, True),
        ('val', {}, False),
        ('val', dict(table_at_val=True), True),
        ('test', dict(table=0), False),
    ],
)
def test_when_the_table_is_logged(log, stage, kwargs, shown):
    hub = MessageHub.get_current_instance()
    hub.update_info('loop_stage', stage)
    metric = LongTailMetric(class_counts=[500, 50, 5], **kwargs)
    measure(metric, one_hot([0, 0, 2], 3), [0, 1, 2])
    hub.pop_info('loop_stage')
    assert [line.startswith('\nworst classes') for line in log] == [
        True
    ] * shown


@pytest.mark.parametrize('groups', ['train', 'ir100', [200, 30, 3]])
def test_dump(tmp_path, log, groups):
    metric = LongTailMetric(
        [500, 50, 5], groups=groups, dump=tmp_path / 'new' / 'report.json'
    )
    metric.set_class_info(['ant', 'bee', 'cat'])
    result = measure(metric, one_hot([0, 0, 0], 3), [0, 2, 2])
    files = sorted(path.name for path in (tmp_path / 'new').iterdir())
    assert files == ['report.csv', 'report.json']
    found = json.loads((tmp_path / 'new' / 'report.json').read_text())
    assert found['metrics'] == result
    assert found['settings'] == dict(
        groups=groups,
        thresholds=[20, 100],
        num_bins=10,
        num_images=3,
        num_classes=3,
        num_absent_classes=1,
    )
    assert [row['class_name'] for row in found['classes']] == [
        'ant',
        'bee',
        'cat',
    ]
    assert [row['train_count'] for row in found['classes']] == [500, 50, 5]


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
    metric = LongTailMetric([5, 5], groups=[5, 5, 5])
    with pytest.raises(ValueError, match='class_counts has 2 .* 3 classes'):
        measure(metric, one_hot([0], 2), [0])
    with pytest.raises(ValueError, match="'ir10' is none of 'train', 'ir100'"):
        LongTailMetric(groups='ir10')
    with pytest.raises(ValueError, match='evaluator.groups'):
        LongTailMetric(groups=[5, -1])
    with pytest.raises(ValueError, match='table=-1 must be at least 0'):
        LongTailMetric(table=-1)
    with pytest.raises(TypeError, match='dump=7 is no path'):
        LongTailMetric(dump=7)
    with pytest.raises(ValueError, match='from 2 to 2.*2 classes'):
        measure(LongTailMetric([5, 5]), one_hot([0], 2), [2])
    with pytest.raises(ValueError, match='got no image'):
        LongTailMetric([5, 5]).compute_metrics([])


@pytest.mark.parametrize('key', ['class_counts', 'groups'])
def test_numbers_of_other_classes_are_refused_at_once(key):
    metric = LongTailMetric(**{key: [5, 5]})
    with pytest.raises(ValueError, match=f'{key} has 2 .* 3 .*.{key}'):
        metric.set_class_info(['ant', 'bee', 'cat'], [5, 5, 5])


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
