"""From images to logits as one graph."""

import copy
import pickle

import pytest
import torch
from mmpretrain.structures import DataSample
from test_tuners.tiny_models import (
    NAMES,
    clip_file,
    dataset,
    image_folder,
    loader,
    model_config,
    run_config,
    runner,
)

from lift_mm.registry import MODELS
from lift_mm.tuners import learned_parameters


@pytest.fixture(autouse=True)
def fresh_compiler(compiler):
    torch.compiler.reset()


def build(folder, **settings):
    torch.manual_seed(0)
    config = model_config(clip_file(folder), **settings)
    model = MODELS.build(config)
    model.set_class_info(NAMES, [5, 3, 2])
    model.head.set_class_info(NAMES, [5, 3, 2])
    model.head.loss_module.set_class_info(NAMES, [5, 3, 2])
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.train()


def batch(size=2):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, 16, 16, generator=generator)
    samples = [DataSample().set_gt_label(i % 3) for i in range(size)]
    return images, samples


def graphs_of():
    """Give a backend that counts what it is given."""
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    return seen, backend


def test_loss_gradients_and_predictions(tmp_path):
    seen, backend = graphs_of()
    model = build(tmp_path, compile=dict(backend=backend))
    plain = build(tmp_path)
    for each in (model, plain):
        each.loss(*batch())['loss'].backward()
    assert len(seen) == 1  # one graph for all between images and logits
    for (name, ours), theirs in zip(
        learned_parameters(model).items(),
        learned_parameters(plain).values(),
        strict=True,
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    model.eval(), plain.eval()
    with torch.no_grad():
        images, samples = batch()
        ours, theirs = model.predict(images), plain.predict(images)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.pred_score, other.pred_score)
        assert torch.allclose(model(images), plain(images), atol=1e-5)


def test_uneven_last_batch(tmp_path):
    seen, backend = graphs_of()
    model = build(tmp_path, compile=dict(backend=backend))
    plain = build(tmp_path)
    for size in (4, 3, 4, 2, 3):
        ours = model.loss(*batch(size))['loss']
        torch.testing.assert_close(ours, plain.loss(*batch(size))['loss'])
    assert len(seen) == 2  # one of its size, then one for any


@pytest.mark.parametrize('recompute', ['mlp', 'block'])
def test_with_recomputation(tmp_path, recompute):
    seen, backend = graphs_of()
    model = build(tmp_path, compile=dict(backend='aot_eager'))
    config = model_config(
        clip_file(tmp_path), compile=dict(backend='aot_eager')
    )
    config['backbone'].update(recompute=recompute, fast=False)
    again = MODELS.build(config).train()
    again.head.loss_module.set_class_info(NAMES, [5, 3, 2])
    again.load_state_dict(model.state_dict())
    for each in (model, again):
        each.loss(*batch())['loss'].backward()
    for one, other in zip(
        learned_parameters(model).values(),
        learned_parameters(again).values(),
        strict=True,
    ):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies(tmp_path, copied):
    model = build(tmp_path, compile=dict(backend='eager'))
    expected = model(batch()[0]).detach()
    clone = copied(model)
    with torch.no_grad():
        for parameter in learned_parameters(clone).values():
            parameter.add_(1)
    assert not torch.allclose(clone(batch()[0]), expected)
    torch.testing.assert_close(model(batch()[0]), expected)


def test_a_run(tmp_path):
    root = image_folder(tmp_path / 'photos')
    done = []
    for options in (False, dict(backend='eager')):
        model = model_config(clip_file(tmp_path), compile=options)
        run = runner(
            run_config(
                tmp_path / str(bool(options)),
                model,
                root,
                val_dataloader=loader(dataset(root, train=False)),
                val_cfg=dict(),
                val_evaluator=dict(type='lift_mm.LongTailMetric'),
            )
        )
        run.train()
        done.append(run.model.state_dict())
        assert (run.model._compiled is None) is (options is False)
    for name, value in done[0].items():
        torch.testing.assert_close(done[1][name], value, msg=name)


@pytest.mark.parametrize('wrong', ['yes', 1, None])
def test_mistakes(wrong):
    with pytest.raises(TypeError, match='model.compile'):
        MODELS.build(model_config(compile=wrong))
