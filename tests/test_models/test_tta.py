"""``MeanLogitTTA``: logits are averaged, not probabilities (SPEC T15)."""

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.runner.amp import autocast
from mmpretrain.models import (
    AverageClsScoreTTA,
    ClsDataPreprocessor,
    ImageClassifier,
)
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


def packed(views):
    """What a pipeline gives for each image, from V x (B, 3, H, W)."""
    return [
        dict(
            inputs=list(crops),
            data_samples=[
                DataSample(crop=n).set_gt_label(label)
                for n in range(len(crops))
            ],
        )
        for label, crops in enumerate(zip(*views, strict=True))
    ]


class Watched(torch.nn.Module):
    """A model that notes the shapes of what goes through it."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shapes = model, []
        self.data_preprocessor, self.head = model.data_preprocessor, model.head

    def test_step(self, data):
        """Mmengine asks for it."""

    def forward(self, inputs, mode):
        self.shapes.append(tuple(inputs.shape))
        return self.model(inputs, mode=mode)


BATCHES = [  # views, images, max_batch, and what goes through together
    (5, 2, None, [10]),
    (5, 2, 10, [10]),
    (5, 2, 9, [8, 2]),
    (5, 2, 5, [4, 4, 2]),
    (5, 2, 3, [2, 2, 2, 2, 2]),
    (5, 2, 1, [2, 2, 2, 2, 2]),  # a batch is not split
    (1, 3, 256, [3]),
    (5, 3, 256, [15]),
    (10, 1, 4, [4, 4, 2]),
]


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
@pytest.mark.parametrize('views, images, max_batch, batches', BATCHES)
def test_views_go_together(views, images, max_batch, batches, collate):
    """And give what each gives alone, but for the rounding of products."""
    torch.manual_seed(0)
    model = Watched(classifier())
    crops = torch.randint(256, (views, images, 3, 16, 16), dtype=torch.uint8)
    tta = MeanLogitTTA(model, max_batch=max_batch).eval()
    with torch.no_grad():
        found = tta.test_step(collate(packed(crops)))
        assert model.shapes == [(n, 3, 16, 16) for n in batches]
        logits = [model(x / 127.5 - 1, mode='tensor') for x in crops]
    scores = (sum(logits) / views).softmax(dim=1)
    for label, (sample, score) in enumerate(zip(found, scores, strict=True)):
        torch.testing.assert_close(
            sample.pred_score, score, atol=1e-6, rtol=1e-5
        )
        assert sample.gt_label.item() == label


@pytest.mark.parametrize(
    'device, side, most',
    [
        ('cpu', 16, 256),
        ('cpu', 224, 8),
        ('cpu', 336, 3),
        ('cpu', 1024, 0),  # then each view goes alone
        ('meta', 224, 256),
    ],
)
def test_default_batch(device, side, most):
    images = torch.empty(2, 3, side, side, device=device)
    model = pixel_classifier()
    assert MeanLogitTTA(model)._most(images) == most
    assert MeanLogitTTA(model, max_batch=5)._most(images) == 5
    batches = list(MeanLogitTTA(model)._join(5 * [packed_view(images)]))
    assert sum(len(batch) for batch, _ in batches) == 10
    assert max(len(batch) for batch, _ in batches) <= max(most, 2)


def packed_view(images):
    return dict(inputs=images, data_samples=[DataSample() for _ in images])


class Turning(ClsDataPreprocessor):
    """One that reads off the samples what to do with their images."""

    def forward(self, data, training=False):
        turns = torch.tensor([sample.sign for sample in data['data_samples']])
        inputs = data['inputs'] * turns[:, None, None, None]
        return super().forward(dict(data, inputs=inputs), training)


def test_samples_stay_with_their_views():
    model = pixel_classifier()
    model.data_preprocessor = Turning()
    views = pixels(VIEWS)
    data = batch(views)
    for sign, samples in zip([1, -1, -1], data['data_samples'], strict=True):
        for sample in samples:
            sample.sign = sign
    found = MeanLogitTTA(model).eval().test_step(data)
    first, *others = torch.tensor(VIEWS)
    mean = (first - sum(others)) / 3
    for sample, logits in zip(found, mean, strict=True):
        torch.testing.assert_close(sample.pred_score, logits.softmax(0))


def test_sizes_are_not_mixed():
    """Padding would change what a view gives."""
    model = Watched(pixel_classifier())
    model.model.backbone.forward = lambda x: (x.mean((2, 3)),)
    views = [torch.rand(2, 3, *size) for size in [(4, 4), (4, 4), (4, 6)]]
    tta = MeanLogitTTA(model).eval()
    found = tta.test_step(batch(views))
    assert model.shapes == [(4, 3, 4, 4), (2, 3, 4, 6)]
    mean = sum(view.mean((2, 3)) for view in views) / 3
    for sample, logits in zip(found, mean, strict=True):
        torch.testing.assert_close(sample.pred_score, logits.softmax(0))


def test_in_half_precision():
    """What mmengine's loop does with ``fp16=True``, here on a CPU."""
    torch.manual_seed(0)
    model = classifier()
    tta = MeanLogitTTA(model, max_batch=15).eval()
    crops = [torch.randint(256, (3, 3, 16, 16)) for _ in range(5)]
    types = []
    model.backbone.layers[0].attn.qkv.register_forward_hook(
        lambda module, args, out: types.append(out.dtype)
    )
    with torch.no_grad():
        expected = tta.test_step(batch(crops))
        with autocast(device_type='cpu', enabled=True):
            found = tta.test_step(batch(crops))
    assert types == [torch.float32, torch.bfloat16]
    for one, other in zip(expected, found, strict=True):
        assert other.pred_score.dtype == torch.float32
        assert 0 < (one.pred_score - other.pred_score).abs().max() < 0.05


@pytest.mark.parametrize('value', [0, -1, 2.0, '8'])
def test_impossible_max_batch(value):
    with pytest.raises(ValueError, match=f'max_batch={value!r}.*tta_model'):
        MeanLogitTTA(pixel_classifier(), max_batch=value)


def test_half_precision_is_averaged_in_single():
    views = [torch.tensor([[60000.0, 0.0]]).half()] * 3  # their sum is inf
    mean = MeanLogitTTA(module=pixel_classifier()).merge_preds(views)
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[60000.0, 0.0]]
