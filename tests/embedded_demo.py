"""The embedded data, and a checkpoint as some training might leave it."""

import zipfile
from pathlib import Path

import torch
from miniature import REPO
from mmengine.config import Config
from mmpretrain import get_model

from lift_mm import apis
from lift_mm.tuners import learned_parameters

DEMO = """
_base_ = '{repo}/configs/demo/{name}_fashion-mnist-lt.py'
clip = dict(
    arch='{repo}/demo/mini-clip.json',
    pretrained='{repo}/demo/mini-clip.safetensors',
)
model = dict(backbone=dict(backbone=clip))
data = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(data_root='{data}'), **data)
val_dataloader = test_dataloader = dict(
    batch_size=128, dataset=dict(data_root='{data}'), **data
)
"""


class Demo:
    """Configs, images of the test set, class names and a checkpoint."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(REPO / 'demo' / 'fashion-mnist-lt.zip') as file:
            tests = [n for n in file.namelist() if n.startswith('test/')]
            trains = [n for n in file.namelist() if n.startswith('train/')]
            file.extractall(folder / 'data', tests[::11] + trains[::3])
        for name in ('lift', 'zero-shot'):
            text = DEMO.format(repo=REPO, name=name, data=folder / 'data')
            (folder / f'{name}.py').write_text(text)
        self.folder = folder
        self.images = sorted((folder / 'data' / 'test').rglob('*.png'))
        self.classes = [
            path.name.replace('_', ' ')
            for path in sorted(self.images[0].parents[1].iterdir())
        ]
        model = get_model(self.config('lift'), device='cpu')
        apis.set_class_names(model, self.classes)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in learned_parameters(model).values():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.05 * noise)
        meta = dict(dataset_meta=dict(classes=self.classes))
        self.checkpoint = folder / 'epoch_1.pth'
        state = dict(state_dict=apis.tuned_state(model), meta=meta)
        torch.save(state, self.checkpoint)

    def config(self, name: str) -> Config:
        return Config.fromfile(self.folder / f'{name}.py')
