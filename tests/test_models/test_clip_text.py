"""CLIP's text tower: published features, open_clip's, laws of tuners."""

import copy
import pickle

import open_clip
import parity_data
import pytest
import torch
from parity_models import ARCH, clip_file, relative
from test_tuners.test_laws import (
    NOT_IDENTITY,
    TUNERS,
    added,
    held_tensors,
    inside,
    learn,
)

from lift_mm.models import CLIPText, TunedBackbone
from lift_mm.tuners import disabled, frozen_keys, learned_parameters

TINY = dict(
    embed_dim=24,
    vision_cfg=dict(image_size=8, layers=1, width=64, patch_size=8),
    text_cfg=dict(width=32, heads=4, layers=3, mlp_ratio=3.0),
)
# Their sizes follow the number of classes, which a text tower lacks.
SIZES = {'adaptformer', 'adaptformer_last', 'adaptformer_list', 'adapter'}
SETTINGS = {
    name: dict(settings, hidden_dims=4) if name in SIZES else settings
    for name, settings in TUNERS.items()
    if name != 'adaptformer_plus'
}


@pytest.mark.parametrize('prompt', ['default', 'classname', 'ensemble'])
@pytest.mark.parametrize('pad', [0, 77])
def test_published_features(tmp_path, prompt, pad):
    data = parity_data.load('semantic_init')
    tokens = data[f'v1/{prompt}/tokens'][:8].long()
    fill = tokens.new_zeros(*tokens.shape[:2], max(0, pad - tokens.shape[2]))
    tokens = torch.cat([tokens, fill], dim=2).flatten(0, 1)
    net = CLIPText(ARCH, clip_file(tmp_path))
    before = []
    net.ln_final.register_forward_hook(lambda *args: before.append(args[2]))
    with torch.no_grad():
        (found,) = net(tokens)
    for what, value in (('pre', before[0]), ('post', found)):
        expected = data[f'v1/{prompt}/text_feature_{what}_projection']
        assert relative(value, expected.flatten(0, 1)) < 1e-5, what


@pytest.mark.parametrize('custom', [False, True])
@pytest.mark.parametrize('quick_gelu', [False, True])
@pytest.mark.parametrize('scale', [None, 0.3])
def test_features_of_open_clip(tmp_path, quick_gelu, scale, custom):
    text = dict(TINY['text_cfg'], ls_init_value=scale)
    arch = dict(TINY, quick_gelu=quick_gelu, text_cfg=text)
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(**arch).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    torch.save(model.state_dict(), tmp_path / 'clip.pt')
    net = CLIPText(arch, str(tmp_path / 'clip.pt'))
    tokens = open_clip.SimpleTokenizer()(['a fox', 'two big owls', ''])
    with torch.no_grad():
        expected = model.encode_text(tokens)
        assert relative(net(tokens)[0], expected) < 1e-6
        assert relative(net(tokens[:, :6])[0], expected) < 1e-6
    assert torch.equal(net.logit_scale, model.logit_scale)


def test_random_start():
    torch.manual_seed(0)
    net = CLIPText(TINY)
    torch.manual_seed(0)
    other = open_clip.CLIP(**TINY)
    block = other.transformer.resblocks[1]
    for own, theirs in (
        (net.token_embedding.weight, other.token_embedding.weight),
        (net.positional_embedding, other.positional_embedding),
        (net.text_projection, other.text_projection),
        (net.layers[1].attn.qkv.weight, block.attn.in_proj_weight),
        (net.layers[1].attn.proj.weight, block.attn.out_proj.weight),
        (net.layers[1].ffn.layers[0][0].weight, block.mlp.c_fc.weight),
        (net.layers[1].ffn.layers[1].weight, block.mlp.c_proj.weight),
    ):
        assert own.shape == theirs.shape
        deviation = float(theirs.detach().std())
        assert float(own.detach().std()) == pytest.approx(deviation, rel=0.1)
    assert torch.equal(net.logit_scale, other.logit_scale)
    before = net.text_projection.clone()
    net.init_weights()
    assert torch.equal(net.text_projection, before)


def tower(tuner=None):
    torch.manual_seed(0)
    net = CLIPText(TINY)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tuners = [SETTINGS[tuner]] if tuner else []
    return TunedBackbone(net, tuners).eval()


def feature(net):
    tokens = open_clip.SimpleTokenizer()(['a fox', 'two big owls', ''])
    return net(tokens[:, :6])[0]


@pytest.mark.parametrize('tuner', SETTINGS)
def test_laws_of_tuners(tuner):
    """Those of ``test_laws``, in the text tower."""
    base, net = tower(), tower(tuner)
    expected = feature(base)
    assert not learned_parameters(base)
    assert torch.equal(feature(net), expected) is (tuner not in NOT_IDENTITY)
    learn(net)
    found = feature(net)
    assert not torch.equal(found, expected)
    found.pow(2).sum().backward()
    learned = learned_parameters(net)
    for key, parameter in net.named_parameters():
        if key in learned:
            assert parameter.grad.any() or not parameter.numel(), key
        else:
            assert parameter.grad is None, key
    flags = SETTINGS[tuner]['type'] in ('BitFit', 'NormTuning', 'FullTuning')
    assert flags or all(inside(key, added(net)) for key in learned)
    with disabled(net):
        assert torch.equal(feature(net), expected)
    net.train()
    assert torch.equal(feature(net), found)
    net.eval()
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(feature(clone), found)
    fresh = tower(tuner)
    small = {
        key: value
        for key, value in net.state_dict().items()
        if key not in frozen_keys(net)
    }
    assert small.keys() <= learned.keys() | set(added_keys(net))
    fresh.load_state_dict(small, strict=False)
    assert torch.equal(feature(fresh), found)
    assert not held_tensors(net)


def added_keys(net):
    names = added(net)
    return [key for key in net.state_dict() if inside(key, names)]


@pytest.mark.parametrize('tuner', ['vpt', 'vpt_shallow'])
def test_prompts_stand_behind_the_start_token(tuner):
    """As if they were tokens of the text (LIFT+), by open_clip's own way."""
    net = tower(tuner)
    learn(net)
    tokens = open_clip.SimpleTokenizer()(['a fox', 'two big owls', ''])[:, :6]
    x = net.token_embedding(tokens) + net.positional_embedding[:6]
    number = None
    for layer in net.layers:
        if hasattr(layer, 'vpt'):
            prompt = layer.vpt.tokens.expand(3, -1, -1)
            rest = x[:, 1:] if number is None else x[:, 1 + number :]
            number = prompt.shape[1]
            x = torch.cat([x[:, :1], prompt, rest], dim=1)
        mask = torch.full((x.shape[1],) * 2, float('-inf')).triu(1)
        u = layer.ln1(x)
        x = x + torch.nn.functional.multi_head_attention_forward(
            *[u.transpose(0, 1)] * 3,
            layer.embed_dims,
            layer.attn.num_heads,
            layer.attn.qkv.weight,
            layer.attn.qkv.bias,
            None,
            None,
            False,
            0.0,
            layer.attn.proj.weight,
            layer.attn.proj.bias,
            need_weights=False,
            attn_mask=mask,
        )[0].transpose(0, 1)
        x = layer.ffn(layer.ln2(x), identity=x)
    ends = tokens.argmax(1) + number  # shifted by the prompts
    x = net.ln_final(x[torch.arange(3), ends]) @ net.text_projection
    assert relative(feature(net), x) < 1e-6


def test_a_size_must_be_given():
    with pytest.raises(ValueError, match='`hidden_dims`'):
        TunedBackbone(CLIPText(TINY), [dict(type='AdaptFormer')])
    with pytest.raises(ValueError, match="init='lift\\+'"):
        TunedBackbone(CLIPText(TINY), [dict(type='VPT', length=2)])


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(pool_type='last'), "pool_type='last'"),
        (dict(no_causal_mask=True), 'no_causal_mask=True'),
        (dict(hf_model_name='bert'), "hf_model_name='bert'"),
        (dict(embed_cls=True), 'embed_cls=True'),
        (dict(proj_bias=True), 'proj_bias=True'),
        (dict(vocab_size=100), 'vocab_size=100'),
    ],
)
def test_towers_of_another_kind(change, message):
    arch = dict(TINY, text_cfg=dict(TINY['text_cfg'], **change))
    with pytest.raises(ValueError, match=message):
        CLIPText(arch)


def test_no_text_tower(tmp_path):
    arch = {k: v for k, v in TINY.items() if k != 'text_cfg'}
    with pytest.raises(ValueError, match='no `text_cfg`'):
        CLIPText(arch)
    model = open_clip.CLIP(**TINY)
    visual = {
        key: value
        for key, value in model.state_dict().items()
        if key.startswith(('visual.', 'logit_scale'))
    }
    path = str(tmp_path / 'visual.pt')
    torch.save(visual, path)
    with pytest.raises(ValueError, match='no text tower'):
        CLIPText(TINY, path)
    torch.save(model.state_dict(), path)
    arch = dict(TINY, text_cfg=dict(TINY['text_cfg'], layers=2))
    with pytest.raises(ValueError, match='layers.2.*no such tensor'):
        CLIPText(arch, path)
