"""Every tuner case of the LIFT and LIFT+ programs, through the converter."""

import parity_data
import pytest
import torch
from parity_models import SHORTCUTS, build, relative, tuners_of

from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert, convert_key

FEATURE, GRADIENT = 1e-5, 5e-5


CASES = [
    (file, case)
    for file in ('tuners_v1', 'tuners_plus')
    for case in parity_data.meta(file)['cases']
]


def test_number_of_cases():
    assert len(CASES) == 20 + 14


@pytest.fixture(scope='module')
def files():
    return {f: parity_data.load(f) for f in ('tuners_v1', 'tuners_plus')}


@pytest.mark.parametrize('shortcuts', SHORTCUTS)
@pytest.mark.parametrize('file, case', CASES, ids=lambda text: text)
def test_case(tmp_path, files, file, case, shortcuts):
    data, meta = files[file], parity_data.meta(file)['cases'][case]
    repo = file.removeprefix('tuners_')
    options = dict(meta['options'])
    if repo == 'plus':
        options['plus'] = True
    counts = data['cls_num_list'].tolist()
    tuners = tuners_of(options)
    model = build(
        tmp_path, tuners, class_counts=counts, **SHORTCUTS[shortcuts]
    )
    learned = learned_parameters(model.backbone)
    number = sum(p.numel() for p in learned.values())
    assert number == meta['n_tuned_excluding_head']

    prefix = f'{repo}/{case}/param/'
    state = {
        key.removeprefix(prefix): value
        for key, value in data.items()
        if key.startswith(prefix)
    }
    state, unplaced = convert(
        {'tuner': state, 'head': {'weight': data['head.weight']}}
    )
    assert not unplaced
    assert not model.load_state_dict(state, strict=False).unexpected_keys

    # Everything the program learned has a place here, and nothing else.
    names = [convert_key(name) for name in meta['official_tuner_names']]
    assert set(names) == learned.keys()
    for key, value in data.items():
        if '/mask_' in key and key.startswith(f'{repo}/{case}/'):
            check_mask(model, key.split('/')[2:], value)

    feats = model.backbone(data['images'])
    logits = model.head(feats)
    loss = model.head.loss_module(logits, data['targets'])
    loss.backward()
    case = f'{repo}/{case}'
    assert relative(feats[0], data[f'{case}/feature']) < FEATURE
    assert relative(logits, data[f'{case}/logits_s25']) < FEATURE
    assert relative(loss, data[f'{case}/loss_s25']) < FEATURE
    warmer = 30 / 25 * logits  # the programs' other scale
    loss = model.head.loss_module(warmer, data['targets'])
    assert relative(warmer, data[f'{case}/logits_s30']) < FEATURE
    assert relative(loss, data[f'{case}/loss_s30']) < FEATURE
    head = model.head.fc.weight.grad
    assert relative(head, data[f'{case}/grad_head_s25']) < GRADIENT
    seen = set()
    of_clip = {value: key for key, value in meta['backbone_key_of'].items()}
    for key, value in data.items():
        if not key.startswith(f'{case}/grad'):
            continue
        kind, _, name = key.removeprefix(f'{case}/').partition('/')
        if not name:
            continue
        ours = convert_key(of_clip.get(name, name))
        grad = learned[ours].grad
        if kind == 'grad_fro':
            assert float(grad.norm()) == pytest.approx(
                float(value), rel=GRADIENT
            )
        else:
            grad = grad[::8] if kind == 'grad_rows_step8' else grad
            assert relative(grad.reshape(value.shape), value) < GRADIENT, name
        seen.add(ours)
    assert seen == learned.keys()


def check_mask(model, parts, expected):
    """Compare drawn positions: ``mask_weight_idx/I.site`` and the like."""
    kind, name = parts[0], parts[-1]
    expected = expected.long()
    if kind == 'mask_idx':
        name = convert_key(name + '.optimized_params')
        buffer = f'{name}_index'
        assert torch.equal(model.backbone.get_buffer(buffer).long(), expected)
        return
    block, site = name.split('.')
    sites = dict(attn_in='qkv', attn_out='proj', mlp_in='fc1', mlp_out='fc2')
    order = list(sites.values())
    site = sites.get(site) or order[int(site)]
    which = 'weight' if 'weight' in kind else 'bias'
    buffer = f'layers.{block}.masked.{site}.{which}_index'
    assert torch.equal(model.backbone.get_buffer(buffer).long(), expected)
