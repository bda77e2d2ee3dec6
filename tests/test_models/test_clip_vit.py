"""``CLIPViT`` against the image towers of open_clip."""

import itertools
import os
import pickle

import open_clip
import pytest
import torch
from mmengine.runner import save_checkpoint
from mmpretrain.models import ImageClassifier, VisionTransformer
from open_clip.model import CLIP, resize_pos_embed
from parity_models import relative
from safetensors.torch import save_file
from torch import nn

from lift_mm.clip import weights
from lift_mm.clip.arch import model_config, vision_config
from lift_mm.registry import MODELS

TEXT = dict(width=8, heads=1, layers=1, vocab_size=8, context_length=4)
TINY = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=16, layers=2, width=64, patch_size=4),
    text_cfg=TEXT,
)
NOT_PLAIN = ('timm_model_name', 'layers=', 'attentional_pool=True')


def plain_names():
    for name in open_clip.list_models():
        try:
            vision_config(model_config(name))
        except ValueError:
            continue
        yield name


PLAIN = list(plain_names())
REFUSED = sorted(set(open_clip.list_models()) - set(PLAIN))


def reduced(name):
    """The model config of a name with all that costs time made small."""
    config = model_config(name)
    vision = dict(config['vision_cfg'])
    side = vision['image_size'] // vision['patch_size']
    vision.update(
        layers=2,
        width=2 * vision.get('head_width', 64),
        patch_size=2,
        image_size=2 * min(side, 5),
    )
    small = dict(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)
    if 'quick_gelu' in config:
        small['quick_gelu'] = config['quick_gelu']
    return small


def build_clip(config):
    """Give open_clip's own model of a config, no tensor at a neutral value."""
    torch.manual_seed(0)
    model = CLIP(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            # So that formats of either precision hold the same weights.
            parameter.copy_(parameter.half().float())
    return model


def clip_vit(arch, pretrained=None, **settings):
    config = dict(type='lift_mm.CLIPViT', arch=arch, **settings)
    net = MODELS.build(dict(config, pretrained=pretrained and str(pretrained)))
    net.eval()
    return net


def images_of(config):
    side = config['vision_cfg']['image_size']
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, side, side, generator=generator)


@torch.no_grad()
def expected_features(model, images):
    out = model.visual(images)
    return out[0] if isinstance(out, tuple) else out  # CoCa's has tokens too


@pytest.fixture(scope='module')
def tiny():
    return build_clip(TINY)


@pytest.fixture
def tiny_file(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / 'tiny.pt')
    return str(tmp_path / 'tiny.pt')


def test_names_of_plain_towers():
    needed = {
        f'ViT-{name}'
        for name in (
            'S-16', 'S-32', 'M-16', 'B-32', 'B-16', 'B-16-plus-240', 'L-14',
            'L-14-336', 'L-14-CLIPA', 'H-14', 'H-14-CLIPA', 'H-14-378', 'g-14',
            'bigG-14', 'bigG-14-CLIPA', 'B-16-quickgelu',
        )
    }  # fmt: skip
    assert needed <= set(PLAIN)


@pytest.mark.parametrize('name', PLAIN)
def test_every_plain_tower(tmp_path, name):
    config = reduced(name)
    model = build_clip(config)
    torch.save(model.state_dict(), tmp_path / 'weights.pt')
    net = clip_vit(config, tmp_path / 'weights.pt')
    images = images_of(config)
    with torch.no_grad():
        (feature,) = net(images)
    projected = feature @ model.visual.proj
    assert relative(projected, expected_features(model, images)) < 1e-5


@pytest.mark.parametrize('name', REFUSED)
def test_every_other_tower_is_refused(name):
    """Each message names the field that makes it something else."""
    with pytest.raises(ValueError, match='`backbone.arch`') as refusal:
        vision_config(model_config(name))
    assert any(field in str(refusal.value) for field in NOT_PLAIN)


@pytest.mark.parametrize(
    'change, field',
    [
        (dict(qk_norm=True), 'qk_norm=True'),
        (dict(pos_embed_type='sin_cos_2d'), "pos_embed_type='sin_cos_2d'"),
        (dict(block_type='custom'), "block_type='custom'"),
        (dict(pool_type='none'), "pool_type='none'"),
        (dict(pool_type='avg'), "pool_type='avg' without final_ln"),
        (dict(patch_dropout=0.5), 'patch_dropout=0.5'),
        (dict(layers=[3, 4, 6, 3]), r'layers=\[3, 4, 6, 3\] \(a ResNet\)'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_own_config_of_another_kind_is_refused(change, field):
    config = dict(TINY, vision_cfg={**TINY['vision_cfg'], **change})
    with pytest.raises(ValueError, match=field):
        clip_vit(config)


def test_layer_scale(tmp_path):
    vision = dict(TINY['vision_cfg'], ls_init_value=0.3)
    config = dict(TINY, vision_cfg=vision)
    model = build_clip(config)
    torch.save(model.state_dict(), tmp_path / 'scaled.pt')
    net = clip_vit(config, tmp_path / 'scaled.pt')
    gamma = model.visual.transformer.resblocks[1].ls_2.gamma
    assert torch.equal(net.layers[1].ffn.gamma2.weight, gamma)
    images = images_of(config)
    with torch.no_grad():
        projected = net(images)[0] @ model.visual.proj
    assert relative(projected, expected_features(model, images)) < 1e-5


# Formats


def scripted(state):
    """A TorchScript module with the names of a state dict."""

    class Container(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Container()
    for key, value in state.items():
        *path, leaf = key.split('.')
        module = root
        for name in path:
            if name not in module._modules:
                module.add_module(name, Container())
            module = module._modules[name]
        module.register_buffer(leaf, value)
    return torch.jit.script(root)


def save_state_dict(model, path):
    torch.save(model.state_dict(), path)


def save_trainer(model, path):
    state = {f'module.{k}': v for k, v in model.state_dict().items()}
    torch.save(dict(epoch=1, name='run', state_dict=state), path)


def save_safetensors(model, path):
    save_file(model.state_dict(), path)


def save_openai(model, path):
    state = {k: v.half() for k, v in model.state_dict().items()}
    for key in ('input_resolution', 'context_length', 'vocab_size'):
        state[key] = torch.tensor(8)
    scripted(state).save(str(path))


def save_openai_state_dict(model, path):
    state = {k: v.half() for k, v in model.state_dict().items()}
    torch.save(dict(state, input_resolution=torch.tensor(8)), path)


def mm_net(model):
    net = clip_vit(dict(TINY, quick_gelu=True))
    net.load_state_dict(weights.to_vit(model.state_dict()))
    return net


def save_mm_backbone(model, path):
    state = mm_net(model).state_dict()
    save_checkpoint(dict(meta=dict(epoch=1), state_dict=state), str(path))


def save_mm_classifier(model, path):
    head = dict(type='LinearClsHead', num_classes=2, in_channels=64)
    net = ImageClassifier(mm_net(model), head=head)
    log = dict(history=torch.zeros(2))
    state = net.state_dict()
    save_checkpoint(dict(meta=log, state_dict=state, epoch=1), str(path))


FORMATS = [
    (save_state_dict, '.pt'),
    (save_trainer, '.pt'),
    (save_safetensors, '.safetensors'),
    (save_openai, '.pt'),
    (save_openai_state_dict, '.pt'),
    (save_mm_backbone, '.pth'),
    (save_mm_classifier, '.pth'),
]


@pytest.mark.parametrize('save, ending', FORMATS)
def test_formats(tmp_path, save, ending):
    model = build_clip(dict(TINY, quick_gelu=True))
    path = tmp_path / f'weights{ending}'
    save(model, path)
    # OpenAI's files say so themselves, for others the user does.
    told = {} if 'openai' in save.__name__ else dict(quick_gelu=True)
    net = clip_vit(TINY, path, **told)
    images = images_of(TINY)
    with torch.no_grad():
        projected = net(images)[0] @ model.visual.proj
    assert relative(projected, expected_features(model, images)) < 1e-5


# The activation


@pytest.mark.parametrize(
    'name, tag, quick',
    [
        ('ViT-B-16', 'openai', True),
        ('ViT-B-16', 'dfn2b', True),
        ('ViT-B-16', 'metaclip_400m', True),
        ('ViT-B-16', 'laion2b_s34b_b88k', False),
        ('ViT-B-16', 'datacomp_xl_s13b_b90k', False),
        ('ViT-B-32-quickgelu', 'laion400m_e32', True),
        # Here only the model's config knows.
        ('roberta-ViT-B-32', 'laion2b_s12b_b32k', True),
    ],
)
def test_activation_of_a_tag_without_download(name, tag, quick):
    ask = (model_config(name), name, tag, None)
    assert weights.decide_quick_gelu(*ask, wanted=None) is quick
    assert weights.decide_quick_gelu(*ask, wanted=quick) is quick
    with pytest.raises(ValueError, match=f'{tag}.*`backbone.quick_gelu`'):
        weights.decide_quick_gelu(*ask, wanted=not quick)


def act_of(net):
    return type(net.layers[0].ffn.layers[0][1]).__name__


def test_activation_of_an_openai_archive(tmp_path, monkeypatch, tiny):
    path = tmp_path / 'jit.pt'
    save_openai(tiny, path)
    assert weights.is_torchscript(str(path))
    assert act_of(clip_vit(TINY, path)) == 'QuickGELU'
    with pytest.raises(ValueError, match='contradicts .*jit.pt.*True'):
        clip_vit(TINY, path, quick_gelu=False)
    # The same, named by a home directory and an architecture.
    monkeypatch.setenv('HOME', str(tmp_path))
    ask = (model_config('ViT-B-16'), 'ViT-B-16', '~/jit.pt')
    state = weights.read(weights.locate('ViT-B-16', '~/jit.pt'))
    assert weights.decide_quick_gelu(*ask, state, None) is True


@pytest.mark.parametrize(
    'config, wanted, act',
    [
        ({}, None, 'GELU'),
        (dict(quick_gelu=True), None, 'QuickGELU'),
        (dict(quick_gelu=True), False, 'GELU'),
        ({}, True, 'QuickGELU'),
    ],
)
def test_activation_of_a_plain_file(tiny_file, config, wanted, act):
    net = clip_vit({**TINY, **config}, tiny_file, quick_gelu=wanted)
    assert act_of(net) == act


@pytest.mark.parametrize(
    'name, wanted, lines',
    [
        ('ViT-B-16', None, 1),
        ('ViT-B-16', False, 0),
        ('ViT-B-16-quickgelu', None, 0),
    ],
)
def test_unknown_activation_is_logged(
    monkeypatch, tiny_file, name, wanted, lines
):
    logged = []
    monkeypatch.setattr(weights, 'print_log', lambda x, **_: logged.append(x))
    config = model_config(name)
    state = weights.read(tiny_file)
    weights.decide_quick_gelu(config, name, tiny_file, state, wanted)
    assert len(logged) == lines
    assert all('backbone.quick_gelu=True' in line for line in logged)


# Other image sizes


@pytest.mark.parametrize('side', [8, 12, 24, 28])
def test_other_image_size(tiny, tiny_file, side):
    vision = dict(TINY['vision_cfg'], image_size=side)
    model = build_clip(dict(TINY, vision_cfg=vision))
    state = tiny.state_dict()
    resize_pos_embed(state, model)
    model.load_state_dict(state)
    net = clip_vit(TINY, tiny_file, img_size=side)
    assert torch.equal(net.pos_embed[0], model.visual.positional_embedding)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        projected = net(images)[0] @ tiny.visual.proj
    assert relative(projected, expected_features(model, images)) < 1e-5


# Refusals


def test_unknown_architecture():
    with pytest.raises(ValueError, match="no model 'ViT-B16'.*ViT-B-16"):
        clip_vit('ViT-B16')
    with pytest.raises(ValueError, match="config file 'gone.json'"):
        clip_vit('gone.json')
    with pytest.raises(ValueError, match='lacks embed_dim;'):
        clip_vit(dict(vision_cfg={}))


def test_neither_file_nor_tag(tmp_path):
    with pytest.raises(ValueError, match='`backbone.pretrained`.*openai'):
        clip_vit('ViT-B-16', 'opeanai')
    with pytest.raises(ValueError, match='own model config.*tags: none'):
        clip_vit(TINY, tmp_path / 'gone.pt')
    with pytest.raises(ValueError, match='neither a file nor'):
        clip_vit(TINY, tmp_path)


def test_no_network(monkeypatch):
    def offline(config):
        raise OSError('Name or service not known\nTry again later')

    monkeypatch.setattr(open_clip, 'download_pretrained', offline)
    with pytest.raises(ValueError) as refusal:
        clip_vit('ViT-B-16', 'openai')
    text = str(refusal.value)
    assert "'openai' of ViT-B-16" in text and '`backbone.pretrained`' in text
    assert 'OSError: Name or service not known' in text
    assert '\n' not in text


@pytest.mark.parametrize(
    'change, sizes',
    [
        (dict(width=128), r'64.*128'),
        (dict(layers=3), r'layers\.2\..* is absent, .* has \('),
        (dict(layers=1), r'layers\.1\..* no such tensor'),
        (dict(patch_size=8), r'4, 4.*8, 8'),
        (dict(no_ln_pre=True), r'pre_norm\.weight is \(64,\)'),
        (dict(mlp_ratio=2), r'256.*128'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else '',
)
def test_weights_of_another_architecture(tiny_file, change, sizes):
    config = dict(TINY, vision_cfg={**TINY['vision_cfg'], **change})
    with pytest.raises(ValueError, match='`backbone.arch`') as refusal:
        clip_vit(config, tiny_file)
    text = str(refusal.value)
    assert tiny_file in text
    refusal.match(sizes)


def test_weights_without_an_image_tower(tmp_path, tiny):
    state = tiny.state_dict()
    text = {k: v for k, v in state.items() if not k.startswith('visual.')}
    torch.save(text, tmp_path / 'text.pt')
    with pytest.raises(ValueError, match=r'neither a CLIP.*visual\.\*'):
        clip_vit(TINY, tmp_path / 'text.pt')


class Payload:
    """A pickle that makes a folder where it is trusted."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


DAMAGED = dict(
    empty=lambda path, file: path.write_bytes(b''),
    text=lambda path, file: path.write_bytes(b'<html>404</html>'),
    half=lambda path, file: path.write_bytes(file[: len(file) // 2]),
    number=lambda path, file: torch.save(3, path),
    list=lambda path, file: torch.save([torch.ones(2)], path),
    tensor=lambda path, file: torch.save(torch.ones(2), path),
    strings=lambda path, file: torch.save(dict(a='b', state_dict={}), path),
    indices=lambda path, file: torch.save({0: torch.ones(2)}, path),
)


@pytest.mark.parametrize('damage', DAMAGED)
@pytest.mark.parametrize('ending', ['.pt', '.safetensors'])
def test_files_that_are_no_weights(tmp_path, tiny_file, damage, ending):
    path = tmp_path / f'damaged{ending}'
    with open(tiny_file, 'rb') as file:
        DAMAGED[damage](path, file.read())
    with pytest.raises(ValueError, match='`backbone.pretrained`') as refusal:
        clip_vit(TINY, path)
    assert f'damaged{ending}' in str(refusal.value)
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_file_is_not_run(tmp_path, zipped):
    folder, path = tmp_path / 'made', tmp_path / 'evil.pt'
    if zipped:
        torch.save(dict(state_dict=Payload(folder)), path)
    else:
        path.write_bytes(pickle.dumps(Payload(folder), protocol=2))
    with pytest.raises(ValueError, match='evil.pt'):
        clip_vit(TINY, path)
    assert not folder.exists()


# The key map


def test_key_map_is_one_to_one(tiny):
    for config in (
        TINY,
        dict(TINY, vision_cfg={**TINY['vision_cfg'], 'ls_init_value': 0.1}),
    ):
        keys = list(build_clip(config).state_dict())
        mapped = [weights.vit_key(key) for key in keys]
        names = [name for name in mapped if name is not None]
        assert len(names) == len(set(names))
        assert set(names) == set(clip_vit(config).state_dict())
        lost = [k for k, name in zip(keys, mapped) if name is None]
        visual = [k for k in lost if k.startswith('visual.')]
        assert visual == ['visual.proj']


@pytest.mark.parametrize(
    'key',
    [
        'transformer.resblocks.0.ln_1.weight',
        'visual.proj',
        'visual.attnpool.q_proj.weight',
        'visual.transformer.resblocks.0.attn.in_proj',
        'logit_scale',
    ],
)
def test_keys_without_counterpart(key):
    assert weights.vit_key(key) is None


def test_random_weights_follow_the_seed():
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(clip_vit(TINY).state_dict())
    same = [
        all(torch.equal(a[k], b[k]) for k in a)
        for a, b in itertools.combinations(nets, 2)
    ]
    assert same == [True, False, False]


def test_the_net_is_a_plain_vision_transformer(tiny_file):
    net = clip_vit(TINY, tiny_file)
    assert type(net) is VisionTransformer
    before = {k: v.clone() for k, v in net.state_dict().items()}
    head = dict(type='LinearClsHead', num_classes=2, in_channels=64)
    ImageClassifier(net, head=head).init_weights()  # as a runner does
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
