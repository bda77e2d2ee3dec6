"""``LongTailInferencer``: what it predicts is what a test scores."""

import functools
import http.server
import sys
import threading
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
import torch
from embedded_demo import Demo
from mmcv.transforms import Compose
from mmengine.dataset import default_collate
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from mmpretrain.registry import TRANSFORMS
from PIL import ExifTags, Image
from test_tools.test_train_test import load_tool
from test_tuners.tiny_models import classifier, clip_file, model_config

from lift_mm import apis
from lift_mm.models import MeanLogitTTA
from lift_mm.models.class_names import zero_shot_config


def tool_scores(demo, monkeypatch, name: str, *args) -> np.ndarray:
    """Give the scores that ``tools/test.py`` writes."""
    out = demo.folder / 'scores.pkl'
    words = [demo.folder / f'{name}.py', *args, '--out', out]
    words += ['--work-dir', demo.folder / 'work']
    monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, words)])
    load_tool('test').main()
    found = mmengine.load(out)
    assert [Path(item['img_path']) for item in found] == demo.images
    return np.stack([item['pred_score'].numpy() for item in found])


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return Demo(tmp_path_factory.mktemp('demo'))


@pytest.fixture(scope='module')
def infer(demo):
    path = str(demo.folder / 'lift.py')
    return apis.LongTailInferencer(path, demo.checkpoint, 'cpu')


def scores(results: list[dict]) -> np.ndarray:
    return np.stack([result['pred_scores'] for result in results])


@pytest.mark.parametrize('tte', [False, True])
def test_scores_are_those_of_the_test(demo, monkeypatch, tte):
    config = demo.config('lift')
    infer = apis.LongTailInferencer(config, demo.checkpoint, 'cpu', tte=tte)
    flags = ['--tta'] if tte else []
    expected = tool_scores(demo, monkeypatch, 'lift', demo.checkpoint, *flags)
    results = infer(demo.images, batch_size=128)
    assert np.array_equal(scores(results), expected)
    assert len(np.unique(expected.argmax(axis=1))) > 3
    if tte:  # beside the config of the training, which stays
        path = demo.folder / 'work' / 'lift_tta.py'
        with pytest.raises(ValueError, match='--tta.*`model.type`'):
            apis.LongTailInferencer(path, demo.checkpoint)


def test_zero_shot_without_checkpoint(demo, monkeypatch):
    expected = tool_scores(demo, monkeypatch, 'zero-shot')
    infer = apis.LongTailInferencer(demo.config('zero-shot'), device='cpu')
    assert list(infer.classes) == demo.classes
    results = infer(demo.images, batch_size=128)
    assert np.array_equal(scores(results), expected)


def test_merged_and_published(demo, infer, tmp_path):
    for tool, words in (
        ('merge_tuners', [tmp_path / 'merged.pth']),
        ('publish_tuned', [tmp_path / 'out', '--name', 'shared']),
    ):
        module = load_tool(f'model_converters/{tool}')
        args = [demo.folder / 'lift.py', demo.checkpoint, *words]
        module.main(list(map(str, args)))
    expected = infer(demo.images[:20], batch_size=20)
    for config, checkpoint, close in (
        (tmp_path / 'merged.py', tmp_path / 'merged.pth', 1e-4),
        (demo.folder / 'lift.py', *(tmp_path / 'out').glob('*.pth'), 0),
    ):
        other = apis.LongTailInferencer(config, checkpoint, 'cpu')
        found = other(demo.images[:20], batch_size=20)
        np.testing.assert_allclose(scores(found), scores(expected), atol=close)
        assert [r['pred_class'] for r in found] == [
            r['pred_class'] for r in expected
        ]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope='module')
def address(demo):
    handler = functools.partial(Quiet, directory=str(demo.folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_every_kind_of_input(demo, infer, address):
    path = demo.images[7]
    place = path.relative_to(demo.folder).as_posix()
    kinds = [
        str(path),
        path,
        f'{address}/{place}',
        cv2.imread(str(path)),
        Image.open(path),
    ]
    results = infer(kinds)
    expected = infer(str(path))
    assert len(expected) == 1
    for result in results:
        assert np.array_equal(result['pred_scores'], scores(expected)[0])
    assert 'path' not in results[3]
    assert [r.get('path') for r in results[:3]] == [str(path)] * 2 + [kinds[2]]


def test_colours_of_arrays(demo, infer, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    pixels[..., 0] //= 4
    cv2.imwrite(f'{tmp_path}/red.png', pixels)
    image = Image.open(tmp_path / 'red.png')
    found = scores(infer([f'{tmp_path}/red.png', pixels, image]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    swapped = scores(infer(np.ascontiguousarray(pixels[..., ::-1])))
    assert not np.array_equal(found[0], swapped[0])


def test_the_loader_of_the_config(demo, tmp_path):
    """Here one that does not turn pictures as cameras tell."""
    path = str(tmp_path / 'turned.jpg')
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(path, exif=exif)
    found = []
    for flag in ('color', 'color_ignore_orientation'):
        config = demo.config('lift')
        steps = config.test_dataloader.dataset.pipeline
        steps[0].color_type = flag
        infer = apis.LongTailInferencer(config, demo.checkpoint, 'cpu')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            pipeline = Compose([TRANSFORMS.build(step) for step in steps])
        batch = default_collate([pipeline(dict(img_path=path))])
        with torch.no_grad():
            expected = infer.model.test_step(batch)[0].pred_score.numpy()
        found.append(infer(path)[0]['pred_scores'])
        assert np.array_equal(found[-1], expected)
    assert not np.array_equal(*found)


@pytest.mark.parametrize('to_rgb', [False, True])
def test_a_dataset_of_arrays(demo, infer, to_rgb):
    """A config as CIFAR's gets files in the order of its mean."""
    config = demo.config('lift')
    for pipeline in (
        config.test_dataloader.dataset.pipeline,
        config.tta_pipeline,
    ):
        del pipeline[0]
    config.data_preprocessor.to_rgb = to_rgb
    other = apis.LongTailInferencer(config, demo.checkpoint, 'cpu')
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    pixels[..., 0] //= 4
    expected = scores(infer([pixels, demo.images[3]]))
    assert np.array_equal(scores(other([pixels, demo.images[3]])), expected)


def test_folder(demo, infer, tmp_path):
    for name, source in zip(('b.png', 'a.PNG'), demo.images):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'inner').mkdir()
    (tmp_path / 'inner' / 'c.png').write_bytes(demo.images[2].read_bytes())
    results = infer(tmp_path)
    assert [Path(r['path']).name for r in results] == ['a.PNG', 'b.png']
    swapped = scores(infer([demo.images[1], demo.images[0]]))
    assert np.array_equal(scores(results), swapped)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match="empty' has no file that ends"):
        infer(str(tmp_path / 'empty'))


def broken_files(folder: Path, sound: bytes) -> dict[str, str]:
    """Write files that cannot be read, with what is said about each."""
    files = {
        'cut.png': sound[: len(sound) // 2],
        'nothing.png': b'',
        'text.jpg': b'not an image',
        'drawing.svg': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {
        str(folder / 'cut.png'): 'OSError',
        str(folder / 'nothing.png'): 'the file is empty',
        str(folder / 'text.jpg'): 'cannot identify the kind',
        str(folder / 'drawing.svg'): 'cannot identify the kind',
        str(folder / 'absent.png'): 'FileNotFoundError',
    }


def test_broken_files(demo, infer, tmp_path):
    found = broken_files(tmp_path, demo.images[0].read_bytes())
    for path, reason in found.items():
        with pytest.raises(ValueError, match=reason) as error:
            infer(path)
        assert path in str(error.value)
        assert 'skip_broken' in str(error.value)
    inputs = [*found, demo.images[0]]
    results = infer(inputs, batch_size=2, skip_broken=True)
    for (path, reason), result in zip(found.items(), results):
        assert result.keys() == {'error', 'path'}
        assert result['path'] == path and reason in result['error']
    assert results[-1]['pred_class'] in demo.classes
    assert infer(list(found), skip_broken=True) == results[:-1]


def test_drawing_leaves_out_what_is_broken(demo, infer, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'')
    shown = tmp_path / 'shown'
    inputs = [broken, demo.images[0], Image.open(demo.images[1])]
    infer(inputs, skip_broken=True, show_dir=str(shown))
    names = sorted(path.name for path in shown.iterdir())
    assert names == sorted([f'{demo.images[0].stem}.png', '1.png'])


@pytest.mark.parametrize(
    ('image', 'kind', 'said'),
    [
        (3, TypeError, 'type int'),
        (None, TypeError, 'type NoneType'),
        (np.zeros((4, 4), np.uint8), ValueError, r'\(4, 4\) of uint8'),
        (np.zeros((4, 4, 3)), ValueError, 'float64'),
    ],
)
def test_what_is_no_image(infer, image, kind, said):
    with pytest.raises(kind, match=said):
        infer(image)


def test_top(demo, infer):
    result = infer(demo.images[0])[0]
    names, values = zip(*result['top'])
    assert len(names) == 5
    assert names[0] == result['pred_class']
    assert values[0] == result['pred_score']
    assert list(values) == sorted(result['pred_scores'], reverse=True)[:5]
    config = demo.config('lift')
    two = apis.LongTailInferencer(config, demo.checkpoint, 'cpu', topk=2)
    assert two(demo.images[0])[0]['top'] == result['top'][:2]
    with pytest.raises(ValueError, match='`topk`'):
        apis.LongTailInferencer(config, demo.checkpoint, topk=0)


def test_one_model_for_two(demo, infer):
    crops = apis.LongTailInferencer(infer.model, tte=True)
    assert crops.model is infer.model
    assert crops._ensemble.module is infer.model
    assert isinstance(crops._ensemble, MeanLogitTTA)
    one, other = infer(demo.images[0]), crops(demo.images[0])
    assert not np.array_equal(scores(one), scores(other))


def test_classes_rename_what_was_trained(demo, infer):
    names = [f'class {i}' for i in range(10)]
    path = demo.folder / 'lift.py'
    other = apis.LongTailInferencer(
        path, demo.checkpoint, 'cpu', classes=names
    )
    one, renamed = infer(demo.images[0])[0], other(demo.images[0])[0]
    assert np.array_equal(one['pred_scores'], renamed['pred_scores'])
    assert renamed['pred_class'] == names[one['pred_label']]
    with pytest.raises(ValueError, match='2 class names.*10 classes'):
        apis.LongTailInferencer(path, demo.checkpoint, classes=['a', 'b'])


def test_classes_of_zero_shot(demo):
    config = demo.config('zero-shot')
    names = ['trouser', 'ankle boot', 'bag']
    few = apis.LongTailInferencer(config, None, 'cpu', classes=names)
    many = apis.LongTailInferencer(config, None, 'cpu')
    found = scores(few(demo.images[:40]))
    assert found.shape == (40, 3)
    places = [demo.classes.index(name) for name in names]
    shares = scores(many(demo.images[:40]))[:, places]
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, shares, atol=1e-5)


def test_checkpoint_of_another_model(demo, tmp_path):
    state = torch.load(demo.checkpoint, weights_only=True)
    del state['state_dict']['head.fc.weight']
    torch.save(state, tmp_path / 'headless.pth')
    with pytest.raises(ValueError, match='lacks head.fc.weight'):
        apis.LongTailInferencer(demo.config('lift'), tmp_path / 'headless.pth')


def test_no_checkpoint_and_no_names(demo, tmp_path):
    config = demo.config('zero-shot')
    config.test_dataloader.dataset.data_root = str(tmp_path / 'absent')
    with pytest.raises(ValueError, match='`pretrained` and `classes`'):
        apis.LongTailInferencer(config)
    config.model.head.init = None
    with pytest.raises(ValueError, match='no checkpoint.*`model.head.init`'):
        apis.LongTailInferencer(config, classes=demo.classes)


@pytest.mark.parametrize('text_head', [False, True])
def test_set_class_names(demo, text_head):
    config = demo.config('lift')
    config.model.data_preprocessor = config.data_preprocessor
    if text_head:
        config.model = zero_shot_config(config.model, 10)
    model = get_model(config, device='cpu')
    apis.set_class_names(model, demo.classes)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ten = model(images)
        apis.set_class_names(model, demo.classes[3:5])
        two = model(images)
        torch.testing.assert_close(two, ten[:, 3:5])
        apis.set_class_names(model, demo.classes, 'a {}')
        assert not torch.allclose(model(images), ten)
        with pytest.raises(ValueError, match='{}'):
            apis.set_class_names(model, ['bag'], 'a photo')
        with pytest.raises(ValueError, match='xylophone'):
            apis.set_class_names(model, ['xylophone zebra'])
        assert model(images).shape == (2, 10)
    assert model.head.num_classes == 10
    assert list(model._dataset_meta['classes']) == demo.classes


@pytest.mark.parametrize(
    ('names', 'kind'),
    [
        ('bag', TypeError),
        ([3], TypeError),
        ([], ValueError),
        ([' '], ValueError),
    ],
)
def test_names_that_are_none(names, kind):
    with pytest.raises(kind, match='`names`'):
        apis.set_class_names(classifier(), names)


def test_no_text_tower(tmp_path):
    with pytest.raises(ValueError, match='text tower.*`model.head.init`'):
        apis.set_class_names(classifier(), ['fox', 'owl'])
    with pytest.raises(ValueError, match='`model.backbone.pretrained`'):
        zero_shot_config(model_config(), 2)
    model = model_config(clip_file(tmp_path))
    found = zero_shot_config(model, 2)
    assert found['head']['num_classes'] == 2
    assert found['data_preprocessor'] == model.pop('data_preprocessor')
    # The runner and get_model fill in the one beside the model.
    assert 'data_preprocessor' not in zero_shot_config(model, 2)
