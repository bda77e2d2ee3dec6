"""The choices for a set of images, and the config that they make."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import lift_mm
from lift_mm.config_text import comment, literal

from . import rules
from .rules import Choice
from .survey import Survey, survey

BASE = 'lift_mm::lift/vit-b16_folder.py'


@dataclass(frozen=True)
class Recommendation:
    """Settings for a training with LIFT, each with its reason.

    Attributes:
        data: What was found.
        hidden_dims: Width of AdaptFormer's bottlenecks.
        loss: Type of the loss.
        batch: Images of a step.
        fitting: Images at once; steps accumulate.
        epochs: Length of the training.
        hints: What to look at before training.
    """

    data: Survey
    hidden_dims: Choice
    loss: Choice
    batch: Choice
    fitting: Choice
    epochs: Choice
    hints: list[str]

    def config(self) -> str:
        """Write the choices as an mmengine config."""
        parts = [self._head(), self._model(), self._data(), self._schedule()]
        return '\n\n'.join(parts) + '\n'

    def _head(self) -> str:
        data = self.data
        text = (
            f'Recommended by lift_mm {lift_mm.__version__}: '
            f'{len(data.classes)} classes, {data.images} training images '
            f'({min(data.counts)} to {max(data.counts)} a class), '
            f'short sides of {data.side} pixels.'
        )
        lines = [_comment(text)]
        lines += [_comment(f'* {hint}', then='  ') for hint in self.hints]
        return '\n'.join([*lines, '', f'_base_ = {BASE!r}'])

    def _model(self) -> str:
        tuner = (
            f"dict(type='AdaptFormer', hidden_dims={self.hidden_dims.value})"
        )
        default = self.loss.value == 'lift_mm.LogitAdjustedLoss'
        loss = (
            "loss=dict(type='lift_mm.LogitAdjustedLoss', tau=1.0),"
            if default
            else f'loss=dict(_delete_=True, type={self.loss.value!r}),'
        )
        return '\n'.join(
            [
                'model = dict(',
                '    backbone=dict(',
                _comment(self.hidden_dims.reason, 8),
                f'        tuners=[{tuner}],',
                '    ),',
                '    head=dict(',
                f'        num_classes={len(self.data.classes)},',
                _comment(self.loss.reason, 8),
                f'        {loss}',
                '    ),',
                ')',
            ]
        )

    def _data(self) -> str:
        reason = f'{self.batch.value} images a step. {self.batch.reason}'
        batch = [
            _comment(f'{reason} {self.fitting.reason}', 4),
            f'    batch_size={self.fitting.value},',
        ]
        return '\n'.join([*self._loader('train', batch), *self._evaluation()])

    def _evaluation(self) -> list[str]:
        data = self.data
        if data.val is None:
            reason = (
                'No list of validation images: nothing is evaluated. With '
                '"train" in the name of the list, one with "val" or "test" '
                'for it is found.'
            )
            keys = [
                f'{split}_{part} = None'
                for split in ('val', 'test')
                for part in ('dataloader', 'evaluator', 'cfg')
            ]
            return [_comment(reason), *keys]
        share = data.val.get('val_fraction')
        lines = []
        if share:
            lines.append(
                _comment(
                    f'There is no split: {share:.0%} of each class are held '
                    'out, at least one image, and the last epoch is '
                    'measured on them.'
                )
            )
        elif data.val == data.test:
            lines.append(
                _comment(
                    'One set for validation and test: choose nothing by it, '
                    'or the test is none.'
                )
            )
        return [
            *lines,
            *self._loader('val'),
            *self._loader('test'),
        ]

    def _loader(self, split: str, keys: Sequence[str] = ()) -> list[str]:
        data = getattr(self.data, split)
        texts = [f'{k}={literal(v)}' for k, v in data.items()]
        if self.data.kind == 'LongTailList':
            pipeline = 'train' if split == 'train' else 'test'
            texts = [
                '_delete_=True',
                f"type='lift_mm.{self.data.kind}'",
                *texts,
                f'pipeline={{{{_base_.{pipeline}_pipeline}}}}',
            ]
            if split != 'train':
                texts.append('test_mode=True')
        return [
            f'{split}_dataloader = dict(',
            *keys,
            '    dataset=dict(',
            *(f'        {text},' for text in texts),
            '    ),',
            ')',
        ]

    def _schedule(self) -> str:
        lines = []
        counts = self.batch.value // self.fitting.value
        if counts > 1:
            lines.append(f'optim_wrapper = dict(accumulative_counts={counts})')
        lines.append(_comment(self.epochs.reason))
        lines.append(f'train_cfg = dict(max_epochs={self.epochs.value})')
        return '\n'.join(lines)


def recommend(data: str, memory: float | None = None) -> Recommendation:
    """Look at images and choose settings.

    Args:
        data: Folder or list, see :func:`.survey.survey`.
        memory: GiB for the training; by default that of the GPU, or half of
            the main memory where there is none.

    Raises:
        ValueError: The data are refused, or ``memory`` is not positive.
    """
    if memory is not None and not memory > 0:
        raise ValueError(
            f'A memory of {memory} GiB is not positive; give what the '
            'training may use (`--memory`).'
        )
    found = survey(data)
    batch = rules.batch(found.images)
    epochs = rules.epochs(found.images, len(found.classes), batch.value)
    fitting = rules.fitting_batch(
        batch.value, machine_memory() if memory is None else memory
    )
    hints = rules.hints(found.classes, found.counts, found.side, found.broken)
    if memory is None and not torch.cuda.is_available():
        cores = os.cpu_count() or 1
        hours = rules.cpu_hours(found.images, epochs.value, cores)
        hints.append(
            f'No GPU here: on {cores} CPU cores the training takes some '
            f'{hours:.1f} hours.'
        )
    return Recommendation(
        data=found,
        hidden_dims=rules.tuner_size(len(found.classes)),
        loss=rules.loss(found.counts),
        batch=batch,
        fitting=fitting,
        epochs=epochs,
        hints=hints,
    )


def machine_memory() -> float:
    """Give the GiB of the GPU, or half of the main memory."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory / 2**30
    pages, size = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
    return pages * size / 2**31


def _comment(text: str, indent: int = 0, then: str = '') -> str:
    """Wrap a sentence into comment lines."""
    lead = ' ' * indent + '# '
    return textwrap.fill(
        comment(text),
        width=79,
        initial_indent=lead,
        subsequent_indent=lead + then,
        break_long_words=False,
        break_on_hyphens=False,
    )
