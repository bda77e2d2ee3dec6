"""``TunedBackbone``: the same net, loaded, frozen and tuned."""

import pytest
import torch
from mmengine.runner import save_checkpoint
from mmpretrain.models import ImageClassifier, VisionTransformer
from test_tuners.tiny_backbones import CONFIGS, feature, plain
from test_tuners.tiny_models import (
    ADAPTFORMER,
    ARCH,
    FROZEN,
    LEARNED,
    clip_file,
    model_config,
)

from lift_mm.models import TunedBackbone
from lift_mm.registry import MODELS
from lift_mm.tuners import disabled, frozen_keys, learned_parameters

VIT = CONFIGS['VisionTransformer']


def test_a_built_net_is_given_back():
    net = plain('VisionTransformer')
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert TunedBackbone(net, ADAPTFORMER) is net
    for key, value in before.items():
        assert torch.equal(net.state_dict()[key], value), key


def test_weights_are_there_at_once(tmp_path):
    """A runner that tests only never calls ``init_weights``."""
    path = clip_file(tmp_path)
    clip = dict(type='lift_mm.CLIPViT', arch=ARCH, pretrained=path)
    net = TunedBackbone(clip, ADAPTFORMER)
    assert type(net) is VisionTransformer
    weight = torch.load(path, weights_only=True)
    key = 'visual.transformer.resblocks.0.ln_1.weight'
    assert torch.equal(net.state_dict()[FROZEN], weight[key])
    assert net.frozen_base.name == f'CLIPViT({path})'


def test_weights_of_init_cfg(tmp_path):
    path = str(tmp_path / 'vit.pth')
    base = plain('VisionTransformer')
    save_checkpoint(dict(meta={}, state_dict=base.state_dict()), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    net = TunedBackbone(dict(VIT, init_cfg=init_cfg), ADAPTFORMER)
    net.eval()
    assert torch.equal(feature(net), feature(base))
    assert net.frozen_base.name == f'VisionTransformer({path})'


@pytest.mark.parametrize('built', [True, False])
def test_initialising_the_model_changes_nothing(built):
    """What a runner does before it trains."""
    backbone = plain('VisionTransformer') if built else dict(VIT)
    net = TunedBackbone(backbone, ADAPTFORMER)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    head = dict(type='LinearClsHead', num_classes=2, in_channels=32)
    ImageClassifier(net, head=head).init_weights()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_in_a_stock_classifier():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            _scope_='mmpretrain',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=VIT,
                tuners=[dict(type='AdaptFormer')],
                num_classes=12,
            ),
            head=dict(type='LinearClsHead', num_classes=12, in_channels=32),
        )
    )
    assert model.backbone.layers[0].adaptformer.down.out_features == 2
    model.train()
    samples = [mm_sample(1), mm_sample(0)]
    loss = model.loss(torch.randn(2, 3, 16, 16), samples)['loss']
    loss.backward()
    learned = learned_parameters(model)
    assert {k for k, p in model.named_parameters() if p.grad is not None} == (
        learned.keys()
    )
    assert 'head.fc.weight' in learned and 'backbone.' + LEARNED in learned
    base = {f'backbone.{k}' for k in plain('VisionTransformer').state_dict()}
    assert frozen_keys(model) == base


def mm_sample(label):
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(label)


def test_layer_wise_rates_know_the_tuners():
    net = TunedBackbone(VIT, ADAPTFORMER)
    depths = [
        net.get_layer_depth(f'layers.{i}.adaptformer.down.weight')[0]
        for i in range(3)
    ]
    assert depths == [1, 2, 3]


def test_drop_path_rates_are_plain_floats():
    """Otherwise ``torch.compile(fullgraph=True)`` would refuse the net."""
    net = TunedBackbone(VIT)
    rates = [m.drop_prob for m in net.modules() if hasattr(m, 'drop_prob')]
    assert rates and {type(rate) for rate in rates} == {float}


def test_fingerprint_names_the_weights():
    one, same = (TunedBackbone(plain('BEiTViT')) for _ in range(2))
    other = plain('BEiTViT')
    with torch.no_grad():
        other.layers[2].ffn.layers[1].bias[0] += 1e-6
    prints = [net.frozen_base.fingerprint for net in (one, same)]
    assert prints[0] == prints[1]
    assert prints[0] != TunedBackbone(other).frozen_base.fingerprint
    # Tuners are not part of it.
    tuned = TunedBackbone(plain('BEiTViT'), ADAPTFORMER)
    assert tuned.frozen_base.fingerprint == prints[0]


@pytest.mark.parametrize(
    'config',
    [CONFIGS['SwinTransformer'], dict(type='ResNet', depth=18)],
    ids=['Swin', 'ResNet'],
)
def test_frozen_stages_do_not_freeze_tuners(config):
    name = 'NormTuning' if config['type'] == 'ResNet' else 'AdaptFormer'
    net = MODELS.build(
        dict(
            type='lift_mm.TunedBackbone',
            backbone=dict(config, frozen_stages=1),
            tuners=[dict(type=name)],
            num_classes=30,
        )
    )
    learned = set(learned_parameters(net))
    net.train()
    assert learned and set(learned_parameters(net)) == learned


@pytest.mark.parametrize('name', ['MaskedTuning', 'BitFit', 'NormTuning'])
def test_tuners_start_from_a_base_that_is_loaded(name):
    tuner = dict(type=name)
    if name == 'MaskedTuning':
        tuner['ratio'] = 0.3
    model = MODELS.build(model_config(tuners=[tuner]))
    base = MODELS.build(model_config(tuners=[])).backbone
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    for net in (model, base):
        net.eval()
    assert not torch.equal(feature(model.backbone), feature(base))
    state = {f'backbone.{k}': v for k, v in base.state_dict().items()}
    model.load_state_dict(state, strict=False)
    assert torch.equal(feature(model.backbone), feature(base))
    with disabled(model):
        assert torch.equal(feature(model.backbone), feature(base))

    # What was learned stays, with or without its base.
    with torch.no_grad():
        for parameter in learned_parameters(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))
    expected = feature(model.backbone)
    whole = model.state_dict()
    head = {k: v for k, v in whole.items() if k.startswith('head.')}
    for state in (head, whole):
        model.load_state_dict(state, strict=False)
        assert torch.equal(feature(model.backbone), expected)
        with disabled(model):
            assert torch.equal(feature(model.backbone), feature(base))


def test_tuners_cannot_be_attached_twice():
    net = TunedBackbone(plain('VisionTransformer'), ADAPTFORMER)
    with pytest.raises(ValueError, match='AdaptFormer is listed twice'):
        TunedBackbone(net, ADAPTFORMER)
