"""Compare the classes that a model saw in training with those of the test.

LIFT's analysis: for each of several models, how far training and test images
lie from their class's mean, and how alike the classes are. Writes
``class_conditions.png``, ``.json`` and ``.csv``.
"""

import argparse
import csv
import json
import math
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lift_mm  # noqa: F401, before any config is read
from lift_mm.analysis import class_conditions, condition_plot
from lift_mm.analysis.ready import ready_run, seen_as_test, view
from lift_mm.clip.names import printable
from lift_mm.evaluation import per_class_recall, shot_groups


def parse_args(args=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the config of a training run')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='what it learned; without one, the model as it starts',
    )
    parser.add_argument('--name', help='how the first model is called')
    parser.add_argument(
        '--with',
        dest='others',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG'),
        help='another model: NAME CONFIG [CHECKPOINT]; several are possible',
    )
    parser.add_argument(
        '--out', default='work_dirs/class_conditions', help='a folder'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of all configs',
    )
    parsed = parser.parse_intermixed_args(args)
    for other in parsed.others:
        if len(other) not in (2, 3):
            parser.error('--with needs NAME CONFIG [CHECKPOINT]')
    return parsed


def measure(name: str, cfg: Config, checkpoint: str | None) -> dict:
    """Measure one model: its class conditions, and its accuracies.

    Args:
        name: How to call it where progress is shown.
        cfg: Config of its training run.
        checkpoint: What it learned; None is the model as it starts.

    Raises:
        ValueError: The config has no training images.
    """
    if cfg.get('train_dataloader') is None:
        raise ValueError(
            'The config has no training images to compare with (key '
            '`train_dataloader`).'
        )
    runner = ready_run(cfg, checkpoint)
    loader = runner.build_dataloader(runner.cfg.train_dataloader)
    sides = dict(train=loader.dataset, test=runner.test_dataloader.dataset)
    views = {}
    for side, dataset in sides.items():
        images = seen_as_test(dataset, runner)
        views[side] = view(
            runner.model,
            images,
            runner.test_dataloader.batch_size or 64,
            runner.test_dataloader.num_workers,
            f'{printable(name)}, {side} images',
        )
    labels = views['train'].labels
    size = views['test'].logits.shape[1]
    counts = torch.bincount(labels, minlength=size).tolist()
    found = class_conditions(
        *((v.features, v.labels) for v in views.values()), counts
    )
    for side, seen in views.items():
        recalls = per_class_recall(
            seen.labels.numpy(), seen.logits.argmax(1).numpy(), size
        )
        for group, members in shot_groups(counts).items():
            rates = [r for r in recalls[members].tolist() if r == r]
            mean = sum(rates) / len(rates) if rates else math.nan
            found['groups'][group][f'{side}_acc'] = mean
    return found


def rows_of(name: str, found: dict) -> list[dict]:
    """Give a row of plain values for each group of a model."""
    rows = []
    for group, values in found['groups'].items():
        values = dict(values)
        images, alone = values.pop('images'), values.pop('leave_one_out')
        rows.append(
            dict(
                model=name,
                group=group,
                **values,
                **{f'{key}_leave_one_out': v for key, v in alone.items()},
                **{f'{side}_images': n for side, n in images.items()},
                mean_class_cosine=found['between'],
            )
        )
    return rows


def plain(node):
    """Put None where nothing could be measured: JSON knows no NaN."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node


def show(rows: list[dict]) -> None:
    """Print what matters most."""
    table = Table(title='Distances from the class mean: training and test')
    heads = {
        'model': '',
        'group': 'classes',
        'train': 'train',
        'test': 'test',
        'gap': 'gap',
        'gap_leave_one_out': 'gap (l.o.o.)',
        'w1': 'W1',
        'ks': 'KS',
        'train_acc': 'train acc',
        'test_acc': 'test acc',
    }
    for head in heads.values():
        table.add_column(head, justify='right')
    for row in rows:
        cells = []
        for key in heads:
            value = row[key]
            places = 1 if key.endswith('acc') else 3
            if isinstance(value, str):
                cells.append(Text(printable(value)))
            else:
                nothing = math.isnan(value)
                cells.append('-' if nothing else f'{value:.{places}f}')
        table.add_row(*cells)
    Console(width=110).print(table)


def main(args=None) -> None:
    args = parse_args(args)
    name = args.name or Path(args.config).stem
    models = [(name, args.config, args.checkpoint)]
    models += [(*other, None)[:3] for other in args.others]
    names = [name for name, *_ in models]
    if len(set(names)) < len(names):
        raise ValueError(
            f'Two models have the same name: {", ".join(names)} (`--name`, '
            '`--with`).'
        )
    out = Path(args.out)
    found = {}
    for name, config, checkpoint in models:
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(args.cfg_options or {})
        found[name] = measure(name, cfg, checkpoint)
    rows = [row for name in found for row in rows_of(name, found[name])]
    out.mkdir(parents=True, exist_ok=True)
    stem = out / 'class_conditions'
    stem.with_suffix('.png').write_bytes(condition_plot(found))
    with open(stem.with_suffix('.csv'), 'w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(map(plain, rows))
    content = {
        name: dict(
            groups=each['groups'],
            mean_class_cosine=each['between'],
            class_gap=each['class_gap'].tolist(),
        )
        for name, each in found.items()
    }
    text = json.dumps(plain(content), indent=2, ensure_ascii=False)
    stem.with_suffix('.json').write_text(text + '\n')
    show(rows)
    print(f'Written: {stem}.png, .csv and .json')


if __name__ == '__main__':
    main()
