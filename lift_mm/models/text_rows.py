"""Rows of a classifier from class names, with gradients."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lift_mm.clip.names import clean_name

from .text_tokens import tokenize


class TextRows(nn.Module):
    """The text features of all classes, computed when something learns.

    What does not learn is computed once, until a switch of the mode, other
    names, or any change of a tensor makes it stale.

    Args:
        text: A frozen text tower, with tuners or without.
        templates: T format strings, whose features are averaged.
        prompt: What puts learned words into the prompt (:class:`CoOp`),
            instead of the templates.
        adapter: What works on text features (:class:`CLIPAdapter`).
        chunk_size: Prompts a chunk; None is all of them.
    """

    def __init__(
        self,
        text: nn.Module,
        templates: Sequence[str],
        prompt: nn.Module | None = None,
        adapter: nn.Module | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.text = text
        self.templates = list(templates)
        self.prompt = prompt
        self.adapter = adapter
        self.chunk_size = chunk_size
        # Known from the dataset whenever they are needed: not saved.
        self.register_buffer('tokens', None, persistent=False)
        self.register_buffer('places', None, persistent=False)
        self._kept: tuple | None = None  # what it rests on, and a result

    def set_names(self, names: Sequence[str]) -> None:
        """Take the class names.

        Raises:
            ValueError: The text tower cannot read one of them.
        """
        names = [clean_name(name) for name in names]
        device = self.text.logit_scale.device
        if self.prompt is not None:
            tokens, places = self.prompt.tokenize(self.text, names)
            self.places = places.to(device)
        else:
            texts = [
                template.replace('{}', name)
                for name in names
                for template in self.templates
            ]
            tokens = tokenize(self.text, texts)
        self.tokens = tokens.unflatten(0, (len(names), -1)).to(device)
        self._kept = None

    def forward(self) -> Tensor:
        """Give the normalised row of each class, (C, E) in float32.

        Raises:
            ValueError: The class names are unknown.
        """
        if self.tokens is None:
            raise ValueError(
                'TextHead needs class names and has none: keep '
                "dict(type='lift_mm.ClassInfoHook') in `custom_hooks`, or "
                'call `set_class_info`.'
            )
        tower, adapter = (self.text, self.prompt), (self.adapter,)
        if _learns(*tower):
            return self._encode(self._row)
        if _learns(*adapter):
            return self._pool(self._keep(self._features, *tower))
        return self._keep(self._row, *tower, *adapter)

    def _encode(self, function: Callable[[slice], Tensor]) -> Tensor:
        """Call a function of some classes for all of them, in chunks."""
        count, templates, _ = self.tokens.shape
        size = max(1, (self.chunk_size or count * templates) // templates)
        parts = [slice(i, i + size) for i in range(0, count, size)]
        if len(parts) > 1 and torch.is_grad_enabled():
            function = partial(
                checkpoint,
                function,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing is drawn
            )
        return torch.cat([function(part) for part in parts])

    def _features(self, part: slice) -> Tensor:
        """Give the text tower's features of some classes, (c, T, E)."""
        tokens = self.tokens[part]
        flat = tokens.flatten(0, 1)
        x = self.text.token_embedding(flat)
        if self.prompt is not None:  # and so T = 1
            x = self.prompt(x, self.places[part])
        return self.text(flat, x)[-1].unflatten(0, tokens.shape[:2])

    def _pool(self, features: Tensor) -> Tensor:
        """Adapt, normalise and average, (c, T, E) -> (c, E)."""
        if self.adapter is not None:
            (features,) = self.adapter((features,))
        mean = F.normalize(features.float(), dim=-1).mean(dim=1)
        return F.normalize(mean, dim=-1)

    def _row(self, part: slice) -> Tensor:
        return self._pool(self._features(part))

    def _keep(self, function: Callable, *parts: nn.Module | None) -> Tensor:
        """Give the last result again while nothing that it rests on moved."""
        modules = [m for p in parts if p is not None for m in p.modules()]
        state = (
            function.__name__,
            torch.is_autocast_enabled(self.tokens.device.type),
            [getattr(m, 'enabled', None) for m in modules],
            [getattr(m, 'tuned', None) for m in modules],
            [
                (parameter.data_ptr(), parameter._version)
                for module in modules
                for parameter in module.parameters(recurse=False)
            ],
        )
        if self._kept is None or self._kept[0] != state:
            with torch.no_grad():
                self._kept = (state, self._encode(function))
        return self._kept[1]

    def train(self, mode: bool = True) -> 'TextRows':
        """Switch the mode; nothing that was kept is used any more."""
        self._kept = None
        return super().train(mode)

    def __getstate__(self) -> dict:
        """Leave what was kept out of copies."""
        return {**self.__dict__, '_kept': None}


def _learns(*parts: nn.Module | None) -> bool:
    """Say whether gradients are wanted for something of these modules."""
    return torch.is_grad_enabled() and any(
        parameter.requires_grad
        for part in parts
        if part is not None
        for parameter in part.parameters()
    )
