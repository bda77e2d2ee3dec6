"""Whether the data and the base weights of a config are on this machine."""

import inspect
import os
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS


def data(cfg: Config, root: Path) -> tuple[str, list[str]]:
    """Say where the datasets of a config are.

    Only the places are looked at, so this is quick: a dataset says at its
    construction which image it lacks.

    Args:
        cfg: The config.
        root: Folder that relative paths start from.

    Returns:
        ``'at hand'``, ``'to be downloaded'`` or ``'lacks PATH'``; and the
        paths that nothing downloads.
    """
    lacking, download = [], False
    for loader in ('train_dataloader', 'test_dataloader'):
        config = (cfg.get(loader) or {}).get('dataset')
        while config is not None and 'dataset' in config:  # a wrapper
            config = config['dataset']
        kind = config and DATASETS.get(config['type'])
        if kind is None:  # none, or one that is not registered here
            continue
        place = _place(kind, config)
        if (root / place).expanduser().exists():
            continue
        if hasattr(kind, 'url'):  # of CIFAR
            download = True
        elif str(place) not in lacking:
            lacking.append(str(place))
    if lacking:
        return f'lacks {", ".join(lacking)}', lacking
    return 'to be downloaded' if download else 'at hand', []


def _place(kind: type, config: dict) -> Path:
    """Give the file or folder that a dataset reads first."""
    defaults = inspect.signature(kind).parameters

    def setting(key: str) -> str:
        default = getattr(defaults.get(key), 'default', '')
        value = config.get(key, default)
        return value if isinstance(value, str) else ''

    inside = getattr(kind, 'base_folder', setting('ann_file'))
    return Path(setting('data_root') or '.', inside)


def weights(cfg: Config, root: Path) -> str:
    """Say where the base weights of a config are.

    Returns:
        ``'at hand'``, ``'lacks FILE'``, ``'to be downloaded'`` or, for a
        model without base weights, ``'none'``.
    """
    backbone = cfg.model.backbone
    backbone = backbone.get('backbone', backbone)
    wanted = backbone.get('pretrained')
    init = backbone.get('init_cfg')
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        wanted = init['checkpoint']
    if not wanted:
        return 'none'
    if isinstance(wanted, str) and (root / wanted).expanduser().is_file():
        return 'at hand'
    if not isinstance(wanted, str):  # timm's pretrained=True
        return 'to be downloaded'
    if wanted.startswith(('http://', 'https://')):
        folder = Path(torch.hub.get_dir(), 'checkpoints')
        known = folder / os.path.basename(urlparse(wanted).path)
        return 'at hand' if known.is_file() else 'to be downloaded'
    tag = _tag(backbone.get('arch'), wanted)
    if tag is None:
        return f'lacks {wanted}'
    return 'at hand' if _cached(tag) else 'to be downloaded'


def _tag(arch, tag: str) -> dict | None:
    """Give open_clip's entry of a weight tag."""
    import open_clip

    return open_clip.get_pretrained_cfg(str(arch), tag) or None


def _cached(tag: dict) -> bool:
    """Say whether open_clip has downloaded a weight tag before."""
    from huggingface_hub import snapshot_download

    url = os.path.basename(urlparse(tag.get('url', '')).path)
    if url and Path('~/.cache/clip', url).expanduser().is_file():
        return True
    repository = tag.get('hf_hub', '').rpartition('/')[0]
    if not repository:
        return False
    try:
        folder = snapshot_download(repository, local_files_only=True)
    except (OSError, ValueError):  # nothing of it is here
        return False
    names = os.listdir(folder)
    return any(name.endswith(('.safetensors', '.bin')) for name in names)
