"""What a run leaves in its folder."""

import json
import os
from pathlib import Path


def run_files(run: str | os.PathLike) -> tuple[Path, Path]:
    """Find config and last checkpoint of a run.

    Args:
        run: Its work directory, or one of its checkpoints.

    Raises:
        ValueError: One of them is not there.
    """
    run = Path(run).expanduser()
    folder = run.parent if run.is_file() else run
    # The one of the last start that trained: a test overwrites the one in
    # the folder itself, maybe with a model for test-time augmentation.
    configs = [
        path.with_name('config.py')
        for path in sorted(folder.glob('*/vis_data/scalars.json'))
    ]
    configs = [path for path in configs if path.is_file()]
    configs = configs or sorted(folder.glob('*.py'))
    if not configs:
        raise ValueError(
            f'{str(folder)!r} holds no config, so it is no work directory of '
            'a run (argument `RUN`).'
        )
    if run.is_file():
        return configs[-1], run
    found = list(folder.glob('*.pth'))
    if not found:
        raise ValueError(
            f'{str(folder)!r} holds no checkpoint; train first, or name one '
            '(argument `RUN`).'
        )
    return configs[-1], max(found, key=lambda p: p.stat().st_mtime)


def read_curves(folder: Path) -> list[dict]:
    """Read what a run has logged, over all its starts, by step.

    A step that was repeated after a cut counts as it was last.
    """
    lines: dict[tuple, dict] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            kind = 'loss' in entry
            lines[entry.get('step', 0), kind] = entry
    return [lines[key] for key in sorted(lines)]
