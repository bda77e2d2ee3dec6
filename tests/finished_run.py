"""What a training run leaves behind, for the tools that read it."""

import parity_models
import torch
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.registry import MODELS

from lift_mm import apis
from lift_mm.tuners import learned_parameters

CLASSES = [f'class {index}' for index in range(40)]
COUNTS = list(range(1, 41))


class Run:
    """A finished training: its config, its checkpoint, its model."""

    def __init__(self, folder, tuners, inner=None, width=128, **head):
        self.config = str(folder / 'recipe.py')
        self.checkpoint = str(folder / 'epoch_1.pth')
        if inner is None:
            init = dict(type='SemanticInit')
            inner = dict(
                type='lift_mm.CLIPViT',
                arch=parity_models.ARCH,
                pretrained=parity_models.clip_file(folder),
            )
        else:
            init = None
            inner = dict(inner, init_cfg=self.base(folder, inner))
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=32),
            dict(type='PackInputs'),
        ]
        swin = inner['type'].startswith('Swin')
        neck = dict(type='GlobalAveragePooling') if swin else None
        if inner['type'] == 'TIMMBackbone':
            neck = dict(type='lift_mm.ClassToken')
        cfg = Config(
            dict(
                default_scope='mmpretrain',
                data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
                model=dict(
                    type='lift_mm.LongTailClassifier',
                    backbone=dict(
                        type='lift_mm.TunedBackbone',
                        backbone=inner,
                        tuners=tuners,
                    ),
                    neck=neck,
                    head={
                        **dict(
                            type='lift_mm.CosineHead',
                            num_classes=40,
                            in_channels=width,
                            init=init,
                            loss=dict(type='lift_mm.LogitAdjustedLoss'),
                        ),
                        **head,
                    },
                ),
                custom_hooks=[
                    dict(type='lift_mm.ClassInfoHook'),
                    dict(type='lift_mm.TunedCheckpointHook'),
                ],
                train_cfg=dict(max_epochs=1),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
                test_dataloader=dict(
                    dataset=dict(type='CustomDataset', pipeline=pipeline)
                ),
            )
        )
        cfg.dump(self.config)
        self.model = get_model(cfg, device='cpu')
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in learned_parameters(self.model).values():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.3 * noise)
        self.model.set_class_info(CLASSES)
        self.state = apis.tuned_state(self.model)
        data = dict(classes=CLASSES, class_counts=COUNTS)
        torch.save(
            dict(
                meta=dict(dataset_meta=data, cfg='x' * 10_000),
                state_dict=self.state,
                optimizer=dict(momentum=torch.zeros(100_000)),
                message_hub=dict(log=[1.0] * 1000),
            ),
            self.checkpoint,
        )

    @staticmethod
    def base(folder, inner):
        """Write weights for a backbone, and give its ``init_cfg``."""
        torch.manual_seed(0)
        net = MODELS.build(dict(inner))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        path = str(folder / 'base.pth')
        torch.save(net.state_dict(), path)
        return dict(type='Pretrained', checkpoint=path)
