"""Turn a checkpoint of the LIFT or LIFT+ programs into one of lift_mm.

With ``--config`` the tensors are also placed in that model, whose
fingerprint goes into the file: it is then a tuned checkpoint like those of a
training run. Whatever has no place is named.
"""

import argparse

import torch
from mmengine.config import Config, DictAction
from mmpretrain import get_model

import lift_mm
from lift_mm import whole_files
from lift_mm.apis import tuned_state
from lift_mm.safe_load import load_file
from lift_mm.tuners import learned_parameters
from lift_mm.tuners.official import convert, rename_for


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='a checkpoint of LIFT or LIFT+')
    parser.add_argument('out', help='the file to write')
    parser.add_argument(
        '--config', help='a config with the same backbone and tuners'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args(args)


def place(state: dict, model: torch.nn.Module) -> tuple[dict, list[str]]:
    """Put tensors into a model.

    Returns:
        Its tuned state, and the keys for which it has no tensor.

    Raises:
        ValueError: Something that it learns is missing or has another shape.
    """
    state = rename_for(model.backbone, state)
    own = model.state_dict()
    for key in learned_parameters(model):
        have = tuple(state[key].shape) if key in state else 'absent'
        if have != tuple(own[key].shape):
            raise ValueError(
                f'{key} of the checkpoint is {have}, the model has '
                f'{tuple(own[key].shape)} (keys `model.backbone.tuners` and '
                '`model.head`).'
            )
    known = {key: value for key, value in state.items() if key in own}
    model.load_state_dict(known, strict=False)
    return tuned_state(model), sorted(state.keys() - own.keys())


def main(args=None) -> None:
    args = parse_args(args)
    state, unplaced = convert(load_file(args.checkpoint))
    if not state:
        raise ValueError(
            f'{args.checkpoint!r} holds no tensor of a LIFT or LIFT+ '
            f'program; its keys: {", ".join(unplaced[:5])} (argument '
            '`checkpoint`).'
        )
    number = len(state)
    if args.config:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        state, strange = place(state, get_model(cfg, device='cpu'))
        unplaced += strange
        number -= len(strange)
    meta = dict(lift_mm_version=lift_mm.__version__)
    whole_files.save(dict(meta=meta, state_dict=state), args.out)
    print(f'{args.out}: {number} tensors placed.')
    for key in unplaced:
        print(f'No place for {key}')


if __name__ == '__main__':
    main()
