"""The long-tail benchmarks with three classes, their lists and downloads."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from lift_mm.datasets.published import BENCHMARKS, Benchmark
from lift_mm.datasets.published.layouts import place_of, spell

CLASSES = {
    'imagenet-lt': ['n01440764', 'n01443537', 'n01484850'],
    'places-lt': ['zen_garden', 'arena-hockey', 'bar'],
    'inaturalist2018': ['Plantae/0', 'Insecta/1', 'Aves/2'],
}
SIZES = dict(train=[120, 20, 5], val=[2, 2, 2], test=[3, 3, 3])


def _lines(name: str, split: str) -> str:
    kind = BENCHMARKS[name]
    # Places-LT and ImageNet-LT test on the validation images.
    parts = kind.images
    part = parts[-1] if split == 'test' else parts[0]
    return ''.join(
        f'{spell(part.forms[0], folder, f"{split} {label}{n}.JPEG")} {label}\n'
        for label, folder in enumerate(CLASSES[name])
        for n in range(SIZES[split][label])
    )


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def tiny(name: str) -> tuple[Benchmark, dict[str, str]]:
    """Give a benchmark and the texts of its lists, as they are published."""
    real, lists, texts = BENCHMARKS[name], [], {}
    for facts in real.lists:
        text, sizes = _lines(name, facts.split), SIZES[facts.split]
        texts[facts.file] = text
        digest = hashlib.sha256(','.join(map(str, sizes)).encode())
        lists.append(
            replace(
                facts,
                lines=sum(sizes),
                largest=max(sizes),
                smallest=min(sizes),
                groups=(1, 1, 1) if facts.split == 'train' else None,
                counts_sha256=digest.hexdigest(),
                md5=md5(text),
                sorted_md5=md5(''.join(sorted(text.splitlines(True)))),
            )
        )
    return replace(real, classes=3, lists=tuple(lists)), texts


def lay(
    root: Path,
    benchmark: Benchmark,
    texts: dict[str, str],
    forms: dict[str, str] | None = None,
) -> dict[str, str]:
    """Write empty images of a download.

    Args:
        root: Root folder.
        benchmark: The benchmark.
        texts: Lists in the published spelling.
        forms: Form by name of the part; by default the published ones.

    Returns:
        The lists in the spelling of that download.
    """
    spelled = {}
    for file, text in texts.items():
        lines = []
        for line in text.splitlines():
            path, label = line.rsplit(maxsplit=1)
            place = place_of(path, benchmark.images)
            form = (forms or {}).get(place.part)
            path = spell(form, *place[1:]) if form else path
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
            lines.append(f'{path} {label}\n')
        spelled[file] = ''.join(lines)
    return spelled


def save(folder: Path, texts: dict[str, str]) -> Path:
    """Write lists, and give their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text)
    return folder


def taxonomy() -> list[dict]:
    """Give the entries of a categories.json."""
    ranks = 'kingdom phylum class order family genus'.split()
    return [
        dict(
            id=i,
            name=f'Genus{i} species',
            supercategory=CLASSES['inaturalist2018'][i].split('/')[0],
            **{rank: f'{rank} {i}' for rank in ranks},
        )
        for i in range(3)
    ]


def annotations(path: Path, text: str, categories: list[dict]) -> None:
    """Write the official annotations that belong to a list.

    Ids are no positions, and the notes come in another order, as they may.
    """
    rows = [line.rsplit(maxsplit=1) for line in text.splitlines()]
    images = [dict(id=7 + i, file_name=row[0]) for i, row in enumerate(rows)]
    notes = [
        dict(id=i, image_id=7 + i, category_id=int(row[1]))
        for i, row in enumerate(rows)
    ]
    content = dict(
        images=images, annotations=notes[::-1], categories=categories
    )
    path.write_text(json.dumps(content))
