"""Every tuner case of the LIFT and LIFT+ programs, through the converter."""

import json

import parity_data
import pytest
import torch
from parity_models import build, relative

from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert, convert_key

FEATURE, GRADIENT = 1e-5, 5e-5


def tuners_of(options: dict) -> list:
    """Translate the programs' options into our configs."""
    options = {key.removeprefix('v.'): v for key, v in options.items()}
    layers = options.get('partial')
    if isinstance(layers, list):
        layers = list(range(*layers))
    plus = 'lift+' if 'plus' in options else 'lift'

    def own(name):
        """Layers and size of one method."""
        chosen = options.get(f'{name}_layers', layers)
        if isinstance(chosen, str):
            chosen = json.loads(chosen)
        return chosen

    size = dict(sizing=plus)
    found = []
    if options.get('full_tuning') or options.get('fft'):
        found.append(dict(type='FullTuning', layers=own('fft')))
    if options.get('bias_tuning') or options.get('bitfit'):
        found.append(dict(type='BitFit', layers=options.get('bitfit_layers')))
    if options.get('ln_tuning'):
        found.append(dict(type='NormTuning'))
    if options.get('vpt_shallow'):
        length = options.get('vpt_len')
        found.append(dict(type='VPT', deep=False, length=length, **size))
    if options.get('vpt_deep') or options.get('pt'):
        length = options.get('vpt_len', options.get('pt_len'))
        found.append(dict(type='VPT', length=length, layers=own('pt'), **size))
    for name, kind in (('adapter', 'Adapter'), ('adaptformer', 'AdaptFormer')):
        if options.get(name):
            dim = options.get(f'{name}_dim', options.get('adapter_dim'))
            found.append(
                dict(type=kind, hidden_dims=dim, layers=own(name), **size)
            )
    if options.get('lora'):
        rank = options.get('lora_dim', options.get('adapter_dim'))
        found.append(dict(type='LoRA', rank=rank, layers=own('lora'), **size))
    sites = [s for s in ('attn', 'mlp') if options.get(f'ssf_{s}')]
    sites += ['norm'] if options.get('ssf_ln') else []
    sites = ['attn', 'mlp'] if options.get('ssf') else sites
    if sites:
        found.append(dict(type='SSF', sites=sites))
    if options.get('mask') or options.get('aft'):
        found.append(
            dict(
                type='MaskedTuning',
                ratio=options.get('mask_ratio', options.get('aft_ratio')),
                seed=options.get('mask_seed', options.get('aft_seed', 0)),
                scope=options.get('aft_loc', 'all'),
                layers=own('aft'),
                draw=plus,
            )
        )
    return found


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


@pytest.mark.parametrize('file, case', CASES, ids=lambda text: text)
def test_case(tmp_path, files, file, case):
    data, meta = files[file], parity_data.meta(file)['cases'][case]
    repo = file.removeprefix('tuners_')
    options = dict(meta['options'])
    if repo == 'plus':
        options['plus'] = True
    counts = data['cls_num_list'].tolist()
    model = build(tmp_path, tuners_of(options), class_counts=counts)
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
