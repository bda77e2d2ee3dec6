"""Which images were scored, and how the weights were chosen.

Pure functions of configs (as dicts) and of what a checkpoint's ``meta`` says.
"""

import ast
import contextlib
import os.path as osp
import re
from collections.abc import Mapping, Sequence

# How a dataset is read, not which images it holds.
_READING = {
    'lazy_init',
    'max_refetch',
    'pipeline',
    'serialize_data',
    'test_mode',
    '_scope_',
}
# Of mmengine's CheckpointHook, and the ending of `published_keys`.
_BEST = re.compile(r'best_(.+)_(?:epoch|iter)_\d+(?:-[0-9a-f]{8})?\.pth')


def read_config(text: object) -> dict:
    """Read a dumped config without running it.

    Args:
        text: ``meta['cfg']`` of a checkpoint, which could hold any program.

    Returns:
        The assignments that are made of plain values, lists and dicts.
    """
    try:
        lines = ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found = {}
    for line in lines:
        target = line.targets[0] if isinstance(line, ast.Assign) else None
        if isinstance(target, ast.Name):
            # What is no plain value stays unknown.
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                found[target.id] = _value(line.value)
    return found


def _value(node: ast.AST) -> object:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        found = {}
        for argument in node.args:
            found.update(_value(argument))
        for pair in node.keywords:
            value = _value(pair.value)
            found.update({pair.arg: value} if pair.arg else value)
        return found
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    return ast.literal_eval(node)


def split_of(cfg: Mapping, loader: str) -> dict | None:
    """Give the dataset config of a loader, if it has one.

    Args:
        cfg: Config of a run.
        loader: ``'val_dataloader'`` or ``'test_dataloader'``.
    """
    dataset = (cfg.get(loader) or {}).get('dataset')
    return dataset if isinstance(dataset, Mapping) else None


def describe(dataset: Mapping) -> str:
    """Name a split: the type of the dataset, and its list or split."""
    return ' + '.join(map(_describe_one, _parts(dataset)))


def _describe_one(dataset: Mapping) -> str:
    text = str(dataset.get('type')).split('.')[-1]
    if dataset.get('ann_file'):
        text += f", list '{osp.basename(dataset['ann_file'])}'"
    if dataset.get('split'):
        text += f', split {dataset["split"]!r}'
    elif not dataset.get('ann_file') and dataset.get('data_root'):
        text += f' of {str(dataset["data_root"])!r}'
    return text


def _parts(dataset: Mapping) -> list[Mapping]:
    """Look inside dataset wrappers."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    inner = [part for part in inner if isinstance(part, Mapping)]
    found = [leaf for part in inner for leaf in _parts(part)]
    return found or [dataset]


def is_test_split(val: Mapping, test: Mapping | None) -> bool:
    """Say whether a validation split is, or has, images of the test.

    Args:
        val: Dataset config of the validation.
        test: Dataset config of the test, if there is one.
    """
    vals = _parts(val)
    if any(part.get('split') == 'test' for part in vals):
        return True
    tests = [] if test is None else _parts(test)
    return any(_overlap(one, other) for one in vals for other in tests)


def _overlap(one: Mapping, other: Mapping) -> bool:
    splits = {part['split'] for part in (one, other) if part.get('split')}
    if len(splits) > 1:
        return False
    picks = [part.get('indices') for part in (one, other)]
    if all(isinstance(pick, Sequence) for pick in picks):
        if not set(picks[0]) & set(picks[1]):
            return False
    if one.get('ann_file') and other.get('ann_file'):
        return _annotations(one) == _annotations(other)
    return _identity(one) == _identity(other)


def _annotations(dataset: Mapping) -> str:
    root = osp.expanduser(dataset.get('data_root') or '')
    return osp.realpath(osp.join(root, osp.expanduser(dataset['ann_file'])))


def _identity(dataset: Mapping) -> dict:
    skipped = _READING | {'indices'}
    found = {k: v for k, v in dataset.items() if k not in skipped}
    found['type'] = str(found.get('type')).split('.')[-1]
    if found.get('data_root'):
        found['data_root'] = osp.realpath(osp.expanduser(found['data_root']))
    return found


def selectors(cfg: Mapping) -> dict[str, str]:
    """Give the metrics by which a training chooses its weights.

    Args:
        cfg: Config of a run.

    Returns:
        For each metric the config key that makes it choose.
    """
    hooks = {
        f'default_hooks.{name}': hook
        for name, hook in (cfg.get('default_hooks') or {}).items()
    }
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        hooks[f'custom_hooks[{number}]'] = hook
    found = {}
    for place, hook in hooks.items():
        if not isinstance(hook, Mapping):
            continue
        best = hook.get('save_best') or []
        for key in [best] if isinstance(best, str) else best:
            found[key] = f'{place}.save_best'
        if str(hook.get('type')).split('.')[-1] == 'EarlyStoppingHook':
            found.setdefault(hook.get('monitor'), f'{place}.monitor')
    return found


def weights_rule(name: str, meta: Mapping) -> tuple[str, dict | None]:
    """Say how the weights of a checkpoint were chosen.

    Args:
        name: Its file name; ``''`` where that is unknown.
        meta: Its ``meta``, as the runner saves it.

    Returns:
        The rule in words; and the dataset config of the validation split by
        which they were chosen, ``{}`` where that is unknown and None where
        nothing chose.
    """
    cfg = read_config(meta.get('cfg'))
    progress = _progress(meta, cfg)
    chosen_on = split_of(cfg, 'val_dataloader') or {}
    split = describe(chosen_on) if chosen_on else 'an unknown split'
    best = _BEST.fullmatch(name)
    if best:
        # CheckpointHook writes "lt/acc" as "lt_acc".
        keys = {key.replace('/', '_'): key for key in selectors(cfg)}
        key = keys.get(best[1], best[1])
        return f'best by {key} on {split} ({progress})', chosen_on
    done, total = _reached(meta, cfg)
    if done is None:
        return 'a file that does not say how it was trained', None
    if total is None:
        return f'{progress} of a training of unknown length', None
    if done >= total:
        return f'last {progress}', None
    stopped = [
        key for key, at in selectors(cfg).items() if at.endswith('.monitor')
    ]
    if stopped:
        rule = f'early stopping by {stopped[0]} on {split} ({progress})'
        return rule, chosen_on
    return f'intermediate {progress}', None


def _reached(meta: Mapping, cfg: Mapping) -> tuple[int | None, int | None]:
    """Give how long was trained, and how long a training was to last."""
    loop = cfg.get('train_cfg') or {}
    if loop.get('max_iters'):
        return meta.get('iter'), loop['max_iters']
    return meta.get('epoch'), loop.get('max_epochs')


def _progress(meta: Mapping, cfg: Mapping) -> str:
    done, total = _reached(meta, cfg)
    by_iter = (cfg.get('train_cfg') or {}).get('max_iters')
    unit = 'iteration' if by_iter else 'epoch'
    return f'{unit} {done}' + (f' of {total}' if total else '')
