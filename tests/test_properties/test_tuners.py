"""Choices of blocks, sizes, merging and saving of tuners."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tuners.tiny_backbones import feature, tuned

from lift_mm import apis
from lift_mm.tuners import Tuner, frozen_keys, learned_parameters
from lift_mm.tuners.settings import pow2_floor

BLOCKS = 3  # of the tiny backbones
ANYTHING = st.one_of(
    st.none(),
    st.integers(-2, 5),
    st.lists(st.integers(-1, 4), max_size=4),
    st.lists(st.integers(-1, 4), max_size=4).map(tuple),
    st.booleans(),
    st.floats(-1, 4),
    st.text(max_size=2),
    st.lists(st.booleans() | st.none() | st.floats(0, 2), min_size=1),
)


@given(ANYTHING, st.integers(1, 4))
def test_layers_are_chosen_or_refused(layers, number):
    tuner, blocks = Tuner(layers), [None] * number
    whole = isinstance(layers, int) and not isinstance(layers, bool)
    several = isinstance(layers, (list, tuple)) and all(
        type(index) is int for index in layers
    )
    if layers is None:
        assert tuner.select(blocks) == [*range(number)]
    elif not whole and not several:
        with pytest.raises(TypeError, match='backbone.tuners'):
            tuner.select(blocks)
    elif whole and 1 <= layers <= number:
        assert tuner.select(blocks) == [*range(number)][-layers:]
    elif several and layers and set(layers) <= {*range(number)}:
        if len(set(layers)) == len(layers):
            assert tuner.select(blocks) == sorted(layers)
            return
        with pytest.raises(ValueError, match='backbone.tuners'):
            tuner.select(blocks)
    else:
        with pytest.raises(ValueError, match='backbone.tuners'):
            tuner.select(blocks)


@given(st.fractions(min_value=0, max_value=10**6))
def test_largest_power_of_two(value):
    power = pow2_floor(value)
    assert power == 1 or power <= value
    assert 2 * power > value
    assert power & (power - 1) == 0


LAYERS = st.one_of(
    st.none(),
    st.integers(1, BLOCKS),
    st.sets(st.integers(0, BLOCKS - 1), min_size=1).map(sorted),
)
SIZES = [
    # Key, what C is divided by for a block (LIFT, LIFT+).
    ('AdaptFormer', 'hidden_dims', 2, 2),
    ('Adapter', 'hidden_dims', 2, 2),
    ('LoRA', 'rank', 2, 4),
    ('VPT', 'length', None, 1),
]


@pytest.mark.parametrize('kind, key, lift, plus', SIZES)
@settings(max_examples=10)
@given(st.integers(1, 190), LAYERS, st.sampled_from(['lift', 'lift+']))
def test_sizes_follow_the_number_of_classes(
    kind, key, lift, plus, classes, layers, sizing
):
    config = dict(type=kind, layers=layers, sizing=sizing)
    net = tuned('CLIPViT', config, num_classes=classes)
    (spec,) = net.frozen_base.tuners
    share = lift and lift * BLOCKS
    if sizing == 'lift+':
        share = plus * len(spec['layers'])
    # 2 ** floor(log2(C / share)), at least 1; LIFT's prompts are always 10.
    power = share and max(0, (classes // share).bit_length() - 1)
    assert spec[key] == (1 << power if share else 10)


DIMS = st.integers(1, 5)
TARGETS = st.sets(
    st.sampled_from(['q', 'k', 'v', 'out', 'fc1', 'fc2']), min_size=1
).map(sorted)
SITES = st.sets(st.sampled_from(['attn', 'mlp', 'norm']), min_size=1)
MERGING = dict(
    AdaptFormer=dict(hidden_dims=DIMS),
    LoRA=dict(rank=DIMS, targets=TARGETS),
    SSF=dict(sites=SITES.map(sorted)),
    MaskedTuning=dict(ratio=st.floats(0.05, 1)),
    BitFit={},
    NormTuning={},
)
STAYING = dict(
    Adapter=dict(hidden_dims=DIMS),
    VPT=dict(length=DIMS, init=st.just('lift+')),
)


def tuners(kinds):
    """Draw some kinds, each with its own layers and sizes."""
    return st.sets(st.sampled_from(sorted(kinds)), min_size=1).flatmap(
        lambda chosen: st.tuples(
            *(
                st.fixed_dictionaries(
                    dict(type=st.just(kind), layers=LAYERS, **kinds[kind])
                )
                for kind in sorted(chosen)
            )
        )
    )


def trained(configs, seed):
    net = tuned('CLIPViT', *configs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learned_parameters(net).values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.2 * noise)
    return net.double()


@torch.no_grad()
def output(net):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    return feature(net, x)


@settings(max_examples=30)
@given(tuners(MERGING), st.integers(0, 99))
def test_merged_is_the_forward_pass(configs, seed):
    net = trained(configs, seed)
    merged = apis.merge(net, strict=True)
    assert not learned_parameters(merged)
    torch.testing.assert_close(output(merged), output(net))


@settings(max_examples=15)
@given(tuners(MERGING | STAYING), st.integers(0, 99))
def test_what_cannot_merge_stays_and_still_computes(configs, seed):
    net = trained(configs, seed)
    before = copy.deepcopy(net.state_dict())
    merged = apis.merge(net)
    torch.testing.assert_close(output(merged), output(net))
    left = {sentence.split()[0] for sentence in merged.unmerged}
    stays = {config['type'] for config in configs} & STAYING.keys()
    assert stays <= left <= stays | {'AdaptFormer'}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


@settings(max_examples=20)
@given(tuners(MERGING | STAYING), st.integers(0, 99))
def test_learned_tensors_alone_bring_the_net_back(configs, seed):
    net = trained(configs, seed)
    frozen = frozen_keys(net)
    small = {k: v for k, v in net.state_dict().items() if k not in frozen}
    other = tuned('CLIPViT', *configs).double()
    found = other.load_state_dict(small, strict=False)
    assert not found.unexpected_keys
    assert set(found.missing_keys) == frozen
    assert torch.equal(output(other), output(net))
