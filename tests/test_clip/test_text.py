"""Prompts, tokens and text features, against the published programs."""

import json
import os

import parity_data
import pytest
import torch
from parity_models import ARCH, build, clip_file, clip_state, relative
from safetensors.torch import save_file

from lift_mm.clip import text
from lift_mm.clip.names import clean_name, read_class_names
from lift_mm.clip.templates import class_prompts, resolve_templates
from lift_mm.models.inits import SemanticInit

META = parity_data.meta('semantic_init')
NAMES = META['classnames']


@pytest.fixture(scope='module')
def data():
    return parity_data.load('semantic_init')


@pytest.fixture(scope='module')
def tower(tmp_path_factory):
    path = clip_file(tmp_path_factory.mktemp('clip'))
    return text.TextTower(ARCH, path)


@pytest.mark.parametrize('prompt', ['default', 'classname', 'ensemble'])
def test_prompts_against_lift(tmp_path, data, tower, prompt):
    templates = resolve_templates(prompt)
    names = [clean_name(name) for name in NAMES]
    expected = data[f'v1/{prompt}/tokens']
    assert len(templates) == len(expected)
    for template, tokens in zip(templates, expected):
        got = tower.tokenize([template.replace('{}', n) for n in names])
        assert got.shape == (len(names), 77)
        length = tokens.shape[1]
        assert torch.equal(got[:, :length], tokens.long())
        assert not got[:, length:].any()

    features = data[f'v1/{prompt}/text_feature_post_projection']
    stored = templates[: len(features)]
    mean = torch.nn.functional.normalize(features, dim=-1).mean(dim=0)
    assert relative(tower.encode(NAMES, stored), mean) < 1e-5

    init = SemanticInit(
        templates=prompt, arch=ARCH, pretrained=clip_file(tmp_path)
    )
    rows = init(NAMES, torch.zeros(len(NAMES), 128))
    assert relative(rows, data[f'v1/{prompt}/head.weight']) < 1e-5
    if prompt == 'default':
        expected = data['plus/semantic/head.weight']
        assert relative(rows, expected) < 1e-5


@pytest.fixture
def sentences(tower, data):
    """The published descriptions, read back from their tokens."""
    counts = data['v1/descriptor/count_per_class'].tolist()
    texts = [
        tower.tokenizer.decode([i for i in row if i][1:-1]).strip()
        for row in data['v1/descriptor/tokens'].tolist()
    ]
    found = [texts[sum(counts[:i]) :][:n] for i, n in enumerate(counts)]
    assert [len(own) for own in found] == [7, 5, 6]
    return dict(zip(META['descriptor_classes'], found))


def write(tmp_path, value):
    path = tmp_path / 'descriptors.json'
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_descriptors_against_lift(tmp_path, data, tower, sentences):
    names = META['descriptor_classes']
    prompts = class_prompts(names, sentences)
    got = tower.tokenize([text for own in prompts for text in own])
    expected = data['v1/descriptor/tokens'].long()
    assert torch.equal(got[:, : expected.shape[1]], expected)
    assert not got[:, expected.shape[1] :].any()
    # More classes than the dataset has, in another order and spelling.
    stored = {'great_white shark': sentences.pop(names[2]), 'elk': ['big']}
    init = SemanticInit(
        descriptors=write(tmp_path, {**stored, **sentences}),
        arch=ARCH,
        pretrained=clip_file(tmp_path),
    )
    for spelt in (names, ['tench', 'goldfish', 'great_white_shark']):
        rows = init(spelt, torch.zeros(3, 128))
        assert relative(rows, data['v1/descriptor/head.weight']) < 1e-5


def test_class_without_descriptors(tmp_path, sentences):
    init = SemanticInit(
        descriptors=write(tmp_path, sentences),
        arch=ARCH,
        pretrained=clip_file(tmp_path),
    )
    names = ['tench', 'bow_window', *(f'class {i}' for i in range(6))]
    with pytest.raises(ValueError, match='7 of 8 classes') as refusal:
        init(names, torch.zeros(8, 128))
    text = str(refusal.value)
    assert "'bow window' (label 1), 'class 0' (label 2)" in text
    assert 'and 2 more' in text and '`head.init.descriptors`' in text


@pytest.mark.parametrize(
    'value, error, words',
    [
        ({'elk': []}, ValueError, "'elk' has no sentence"),
        ({'elk': ['big', ' ']}, ValueError, "'elk' has an empty sentence"),
        ({'elk': 'big'}, TypeError, "of 'elk'.*are 'big'; .*a list"),
        ({'elk': ['big', 3]}, TypeError, "of 'elk'.*a list of sentences"),
        ({'elk': {'size': 'big'}}, TypeError, "of 'elk'.*a list"),
        ({'elk': None}, TypeError, "of 'elk'.*are None"),
        (['elk'], TypeError, 'holds a list; it must be a dict'),
        ('{"elk": ["a"], "elk": ["b"]}', ValueError, "'elk' comes twice"),
        ({'an_elk': ['a'], 'an elk': ['b']}, ValueError, 'comes twice'),
        ('{"elk":', ValueError, 'is not JSON'),
        (None, ValueError, 'cannot be read .No such file'),
        (3, TypeError, 'descriptors=3 must be a file name'),
    ],
    ids=str,
)
def test_wrong_descriptors(tmp_path, value, error, words):
    path = str(tmp_path / 'absent.json')
    if value is not None:
        path = value if value == 3 else write(tmp_path, value)
    with pytest.raises(error, match=words) as refusal:
        SemanticInit(
            descriptors=path, arch=ARCH, pretrained=clip_file(tmp_path)
        )
    assert '(key `head.init.descriptors`).' in str(refusal.value)


def test_descriptors_take_no_template(tmp_path, sentences):
    with pytest.raises(ValueError, match='descriptors=.*templates=.*drop one'):
        SemanticInit(
            templates='ensemble',
            descriptors=write(tmp_path, sentences),
            arch=ARCH,
            pretrained=clip_file(tmp_path),
        )


def test_descriptors_are_cached_by_content(tmp_path, monkeypatch, sentences):
    monkeypatch.setenv('LIFT_MM_CACHE', str(tmp_path / 'cache'))
    names = list(sentences)
    ask = dict(arch=ARCH, pretrained=clip_file(tmp_path))
    first, _ = text.class_embeddings(names, sentences, **ask)
    with monkeypatch.context() as patch:
        patch.setattr(text, 'TextTower', None)
        again, _ = text.class_embeddings(names, sentences, **ask)
    assert torch.equal(first, again)
    sentences['tench'] = sentences['tench'][:1]
    other, _ = text.class_embeddings(names, sentences, **ask)
    assert torch.equal(first[1:], other[1:])
    assert not torch.allclose(first[0], other[0])


def test_head_starts_from_names_and_gives_the_published_logits(tmp_path, data):
    """The classifier hands its CLIP to the init: no config repeats it."""
    model = build(
        tmp_path, num_classes=len(NAMES), init=dict(type='SemanticInit')
    )
    model.head.set_class_info(NAMES)
    model.init_weights()
    logits = model.head((data['image_features'],))
    assert relative(logits, data['v1/default/logits_s25']) < 1e-5
    assert relative(logits, data['plus/semantic/logits_s25']) < 1e-5


def test_tokenizer_strings(tower, data):
    """Odd text: entities, emoji, full-width, tabs, long words."""
    got = tower.tokenizer(META['extra_strings'])
    assert torch.equal(got, data['tokenizer/extra_tokens'].long())


def test_over_long_class_name_is_named(tower):
    name = 'a very long name indeed ' * 20
    with pytest.raises(ValueError, match='has .* tokens .* reads 77'):
        tower.encode([name], ['a photo of a {}.'])


def test_absent_token_row_is_named(tower):
    with pytest.raises(ValueError, match="no embedding for 'zeppelin'"):
        tower.encode(['zeppelin'], ['{}'])


def test_open_clip_gives_the_same_features(tmp_path):
    """An independent implementation, with a full token embedding."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.CLIP(
        64,
        dict(image_size=16, layers=1, width=64, patch_size=8),
        dict(width=64, heads=2, layers=2),
    ).eval()
    path = tmp_path / 'clip.pt'
    torch.save(model.state_dict(), path)
    arch = dict(
        embed_dim=64,
        vision_cfg=dict(image_size=16, layers=1, width=64, patch_size=8),
        text_cfg=dict(width=64, heads=2, layers=2),
    )
    names, templates = ['red fox', 'owl'], ['a {}.', 'the {} here']
    got, proj = text.class_embeddings(names, templates, arch, str(path))
    expected = 0
    for template in templates:
        tokens = open_clip.tokenize([template.format(n) for n in names])
        with torch.no_grad():
            expected += model.encode_text(tokens, normalize=True) / 2
    assert relative(got, expected) < 1e-6
    assert torch.equal(proj, model.visual.proj.detach())


def test_features_are_cached_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv('LIFT_MM_CACHE', str(tmp_path / 'cache'))
    path = clip_file(tmp_path)
    ask = dict(templates=['{}'], arch=ARCH, pretrained=path)
    first, _ = text.class_embeddings(['T-shirt'], **ask)
    entries = os.listdir(tmp_path / 'cache')
    assert len(entries) == 1

    def forbidden(*args, **kwargs):
        raise AssertionError('the tower was built again')

    with monkeypatch.context() as patch:
        patch.setattr(text, 'TextTower', forbidden)
        again, _ = text.class_embeddings(['T-shirt'], **ask)
        with pytest.raises(AssertionError):
            text.class_embeddings(['pickup truck'], **ask)
    assert torch.equal(first, again)
    (tmp_path / 'cache' / entries[0]).write_bytes(b'torn')
    anew, _ = text.class_embeddings(['T-shirt'], **ask)
    assert torch.equal(first, anew)
    state = clip_state()
    state['text_projection'] = state['text_projection'] * 2 + 1
    save_file(state, path)
    other, _ = text.class_embeddings(['T-shirt'], **ask)
    assert not torch.equal(first, other)


def test_weights_without_text_are_refused(tmp_path):
    state = {k: v for k, v in clip_state().items() if k.startswith('visual.')}
    save_file(state, tmp_path / 'image-only.safetensors')
    with pytest.raises(ValueError, match='no text tower.*head.init'):
        text.TextTower(ARCH, str(tmp_path / 'image-only.safetensors'))


@pytest.mark.parametrize(
    'wrong', ['a photo', [], ['fine {}', 'a photo'], [3]], ids=str
)
def test_wrong_templates(wrong):
    with pytest.raises(ValueError, match='is not a prompt template'):
        resolve_templates(wrong)


def test_class_name_file(tmp_path):
    path = tmp_path / 'class_names.txt'
    path.write_bytes('\ufeffred fox\r\n\u00fcber owl\r\n\r\n'.encode())
    assert read_class_names(str(path)) == ['red fox', '\u00fcber owl']
    path.write_bytes('red\u2028fox\nowl\x1c2\n'.encode())
    assert read_class_names(str(path)) == ['red\u2028fox', 'owl\x1c2']
    path.write_text('red fox\n\nowl\n')
    with pytest.raises(ValueError, match='line 2'):
        read_class_names(str(path))
    path.write_text('')
    with pytest.raises(ValueError, match='line 1'):
        read_class_names(str(path))
    path.write_bytes(b'caf\xe9')
    with pytest.raises(ValueError, match='is not UTF-8'):
        read_class_names(str(path))
    with pytest.raises(ValueError, match='no class name file'):
        read_class_names(str(tmp_path / 'absent.txt'))


@pytest.mark.parametrize(
    'raw, clean',
    [
        ('aquarium_fish', 'aquarium fish'),
        ('  jack-o_lantern ', 'jack-o lantern'),
        ('T-shirt', 'T-shirt'),
        ('a\tb__c', 'a b c'),
    ],
)
def test_clean_name(raw, clean):
    assert clean_name(raw) == clean


def test_semantic_init_without_clip(tmp_path):
    with pytest.raises(ValueError, match='needs a text tower'):
        SemanticInit()
    with pytest.raises(ValueError, match='needs class names'):
        SemanticInit(arch=ARCH, pretrained=clip_file(tmp_path))(
            None, torch.zeros(3, 128)
        )
    with pytest.raises(ValueError, match='in_channels=99'):
        SemanticInit(arch=ARCH, pretrained=clip_file(tmp_path))(
            NAMES, torch.zeros(len(NAMES), 99)
        )


def test_model_config_file(tmp_path):
    """A JSON file in place of a dict, as open_clip itself keeps them."""
    path = tmp_path / 'tiny.json'
    path.write_text(json.dumps(ARCH))
    got, _ = text.class_embeddings(
        ['T-shirt'], ['{}'], str(path), clip_file(tmp_path), cache=False
    )
    same, _ = text.class_embeddings(
        ['T-shirt'], ['{}'], ARCH, clip_file(tmp_path), cache=False
    )
    assert torch.equal(got, same)
    path.write_text('{"embed_dim":')
    with pytest.raises(ValueError, match='is not JSON.*`backbone.arch`'):
        text.class_embeddings(
            ['T-shirt'], ['{}'], str(path), clip_file(tmp_path), cache=False
        )
