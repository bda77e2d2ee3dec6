"""``MeanLogitTTA``: logits are averaged, not probabilities (SPEC T15)."""

import pytest
import torch
from mmpretrain.models import AverageClsScoreTTA, ImageClassifier
from mmpretrain.structures import DataSample
from test_tuners.tiny_models import classifier

from lift_mm.models import MeanLogitTTA

# Views x images x classes. For the first image one sure view outweighs two
# unsure ones in logits; in probabilities they outvote it.
VIEWS = [
    [[10.0, 0.0, -9.0], [0.0, 1.0, 0.0]],
    [[0.0, 3.0, -9.0], [0.0, 0.0, 2.0]],
    [[0.0, 3.0, -9.0], [0.0, 3.0, 2.0]],
]


class Pixels(torch.nn.Module):
    """A backbone whose features are the pixels themselves."""

    def forward(self, x):
        return (x.flatten(1),)


def pixel_classifier():
    """Pixels -> logits, with mmpretrain's own linear head."""
    head = dict(type='LinearClsHead', num_classes=3, in_channels=3)
    model = ImageClassifier(Pixels(), head=head, data_preprocessor={})
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.eye(3))
        model.head.fc.bias.zero_()
    model.eval()
    return model


def batch(views):
    """What ``TestTimeAug`` and the collate function give."""
    inputs = [torch.as_tensor(view) for view in views]
    samples = [
        [DataSample(name=n).set_gt_label(n) for n in range(len(view))]
        for view in inputs
    ]
    return dict(inputs=inputs, data_samples=samples)


def pixels(views):
    return [torch.tensor(view)[:, :, None, None] for view in views]


@torch.no_grad()
def predictions(cls, model, views):
    tta = cls(module=model)
    tta.eval()
    return tta.test_step(batch(views))


def test_mean_of_logits():
    found = predictions(MeanLogitTTA, pixel_classifier(), pixels(VIEWS))
    mean = torch.tensor(VIEWS).mean(dim=0)
    for sample, logits in zip(found, mean, strict=True):
        torch.testing.assert_close(sample.pred_score, logits.softmax(0))
    assert [s.pred_label.item() for s in found] == [0, 1]
    assert [(s.name, s.gt_label.item()) for s in found] == [(0, 0), (1, 1)]


def test_mean_of_probabilities_is_another_class():
    """The same batch with mmpretrain's own ensembling."""
    found = predictions(AverageClsScoreTTA, pixel_classifier(), pixels(VIEWS))
    # Its pred_label is still that of the first view.
    assert [s.pred_score.argmax().item() for s in found] == [1, 1]


@pytest.mark.parametrize('views', [1, 2, 5])
def test_views_of_a_tuned_model(views):
    model = classifier()
    images = [torch.rand(2, 3, 16, 16) * 255 for _ in range(views)]
    found = predictions(MeanLogitTTA, model, images)
    with torch.no_grad():
        logits = [model(x / 127.5 - 1, mode='tensor') for x in images]
    scores = (sum(logits) / views).softmax(dim=1)
    for sample, score in zip(found, scores, strict=True):
        torch.testing.assert_close(sample.pred_score, score)


def test_half_precision_is_averaged_in_single():
    views = [torch.tensor([[60000.0, 0.0]]).half()] * 3  # their sum is inf
    mean = MeanLogitTTA(module=pixel_classifier()).merge_preds(views)
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[60000.0, 0.0]]
