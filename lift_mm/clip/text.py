"""Class names -> text features, with the text tower of a CLIP."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lift_mm.progress import track

from .arch import model_config, open_clip_name
from .cache import read_cache, write_cache
from .padding import encode_text
from .templates import Prompts, class_prompts
from .text_weights import expand_token_rows
from .tokens import check_lengths, check_rows
from .weights import (
    State,
    check_fit,
    decide_quick_gelu,
    locate,
    projection,
    read,
)

# Fewer prompts than this take seconds; more deserve a progress bar.
_SHOW_PROGRESS = 2000


def _registered_name(config: dict) -> str:
    """Make open_clip know a model config, and give the name it has there."""
    import open_clip

    text = json.dumps(config, sort_keys=True)
    name = 'lift_mm-' + hashlib.sha256(text.encode()).hexdigest()[:16]
    if open_clip.get_model_config(name) is None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name + '.json')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(text)
            open_clip.add_model_config(path)
    return name


@contextlib.contextmanager
def _quiet():
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


class TextTower:
    """The text tower of one CLIP with its tokenizer.

    Args:
        arch: As in :func:`lift_mm.clip.arch.model_config`.
        pretrained: Weight tag of open_clip or path of a local file.
        quick_gelu: See :func:`lift_mm.clip.weights.decide_quick_gelu`.

    Raises:
        ValueError: No weights, weights without a text tower or of another
            architecture, or a tokenizer that cannot be had offline.
    """

    def __init__(
        self,
        arch: str | dict,
        pretrained: str,
        quick_gelu: bool | None = None,
    ) -> None:
        import open_clip

        config = model_config(arch)
        if 'text_cfg' not in config:
            raise ValueError(
                'The model config in `backbone.arch` has no `text_cfg`, so '
                'class names cannot start the head; add it, or set '
                '`head.init=None`.'
            )
        arch_name = open_clip_name(arch)
        path = locate(arch_name, pretrained)
        state = read(path)
        config['quick_gelu'] = decide_quick_gelu(
            config, arch_name, pretrained, state, quick_gelu
        )
        # Only the text tower is wanted: the smallest image tower beside it.
        config['vision_cfg'] = dict(
            image_size=8, layers=1, width=64, patch_size=8
        )
        name = _registered_name(config)
        try:
            self.tokenizer = open_clip.get_tokenizer(name)
            with _quiet():  # it warns of random weights, loaded below
                self.model = open_clip.create_model(
                    name, load_weights=False, pretrained_text=False
                )
        except Exception as error:
            raise ValueError(
                f'The text tower of {arch_name or "this model config"} cannot'
                f' be built ({type(error).__name__}: '
                f'{str(error).strip().splitlines()[0]}); towers of '
                'transformers need that package and a download (key '
                '`head.init.arch`).'
            ) from error
        self._load(state, arch_name or 'this model config', pretrained)
        self.context_length = int(self.tokenizer.context_length)
        self.visual_proj = projection(state)
        self.source = pretrained

    def _load(self, state: State, arch: str, source: str) -> None:
        own = {
            key: value
            for key, value in self.model.state_dict().items()
            if not key.startswith(('visual.', 'logit_'))
        }
        text = {
            key: value.float()
            for key, value in state.items()
            if not key.startswith(('visual.', 'logit_'))
            and key.removesuffix('.ids').removesuffix('.rows')
            in own.keys() | {'token_embedding', 'text.token_embedding'}
        }
        if any(key.startswith('text.') for key in own):
            text = {'text.' + k.removeprefix('text.'): text[k] for k in text}
        if not text:
            raise ValueError(
                f'The weights {source!r} have no text tower, so class names '
                'cannot start the head; use weights of a whole CLIP, or '
                'another `head.init`.'
            )
        self.rows = expand_token_rows(text, own)
        check_fit(own, text, arch, source)
        self.model.load_state_dict(text, strict=False)
        self.model.eval().requires_grad_(False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Turn prompts into token ids of shape (N, context_length).

        Raises:
            ValueError: A prompt is longer than the tower reads, or needs a
                token row that the weights lack; the prompt is named.
        """
        encode = getattr(self.tokenizer, 'encode', None)
        if encode:
            remedy = (
                'shorten this class name (dataset key `classes`), the '
                'template (key `head.init.templates`) or the sentence (key '
                '`head.init.descriptors`)'
            )
            check_lengths(encode, texts, self.context_length, remedy)
        tokens = self.tokenizer(list(texts))
        if self.rows is not None:
            decode = self.tokenizer.decode
            check_rows(decode, texts, tokens.tolist(), self.rows, self.source)
        return tokens

    @torch.no_grad()
    def encode(
        self,
        names: Sequence[str],
        templates: Prompts,
        device: str | torch.device = 'cpu',
        batch_size: int = 256,
    ) -> Tensor:
        """Give each class the mean of its prompts' normalised features.

        The mean is not normalised again (LIFT's rule for ensembles).

        Args:
            names: C class names; underscores become blanks.
            templates: T format strings, or sentences of each class.

        Returns:
            (C, E) in float32, on the CPU.
        """
        prompts = class_prompts(names, templates)
        numbers = torch.tensor([len(own) for own in prompts])
        owners = torch.arange(len(prompts)).repeat_interleave(numbers)
        tokens = self.tokenize([text for own in prompts for text in own])
        self.model.to(device)
        batches = track(
            zip(tokens.split(batch_size), owners.split(batch_size)),
            'Encoding prompts',
            len(tokens),
            lambda pair: len(pair[0]),
            show=len(tokens) > _SHOW_PROGRESS,
        )
        total = None
        for batch, owner in batches:
            feature = encode_text(self.model, batch.to(device)).float()
            feature = F.normalize(feature, dim=-1).cpu()
            if total is None:
                total = feature.new_zeros(len(prompts), feature.shape[1])
            total.index_add_(0, owner, feature)
        return total / numbers[:, None]


def _entry(arch, path: str, quick_gelu, names, templates) -> str:
    """Name the cache entry of a question."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    key = [model_config(arch), quick_gelu, list(names), templates]
    digest.update(json.dumps(key, sort_keys=True).encode())
    return f'text-{digest.hexdigest()}'


def class_embeddings(
    names: Sequence[str],
    templates: Prompts,
    arch: str | dict,
    pretrained: str,
    quick_gelu: bool | None = None,
    device: str | torch.device = 'cpu',
    cache: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Encode class names with a CLIP's text tower, once for each question.

    Results are kept in the cache, named by a hash of the weights, the
    architecture, the names and the templates.

    Args:
        names: C class names.
        templates: Format strings or sentences of each class, see
            :mod:`lift_mm.clip.templates`.
        arch: Architecture as in :func:`lift_mm.clip.arch.model_config`.
        pretrained: Weight tag or path.
        quick_gelu: Only where the weights do not tell.
        device: Where the tower runs.
        cache: Read and write the cache.

    Returns:
        Text features (C, E) and the image projection (D, E)
        of the same weights (None where they have none).

    Raises:
        ValueError: See :class:`TextTower`.
    """
    path = locate(open_clip_name(arch), pretrained)
    entry = _entry(arch, path, quick_gelu, names, templates)
    found = read_cache(entry) if cache else None
    if found is None:
        tower = TextTower(arch, pretrained, quick_gelu)
        found = dict(text=tower.encode(names, templates, device))
        if tower.visual_proj is not None:
            found['proj'] = tower.visual_proj
        if cache:
            write_cache(entry, found)
    return found['text'], found.get('proj')
