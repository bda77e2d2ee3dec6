"""The classifier of the recipes."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from lift_mm.clip.arch import is_projected, model_config
from lift_mm.compat import compiles_blocks
from lift_mm.registry import MODELS
from lift_mm.tuners import FrozenBase, TunerModule

_UNKNOWN = '0' * 64


@MODELS.register_module()
class LongTailClassifier(ImageClassifier):
    """An ``ImageClassifier`` whose parts know of each other.

    * The head's class count goes to ``TunedBackbone``, the backbone's CLIP to
      ``SemanticInit``, ``CLIPProjection`` and the text tower of
      ``TextHead``: no config says a thing twice.
    * Its buffer ``fingerprint`` names the base weights, tuners, head and
      classes of a tuned state. A tuned checkpoint, which holds learned
      tensors only, is completed from the base on loading; one of another
      base, of other tuners, another kind of head or other classes is refused
      by every loader. A checkpoint that brings its whole base along fits any.

    Args:
        backbone: Usually a ``lift_mm.TunedBackbone``.
        neck: Optional neck.
        head: A head with ``num_classes``.
        compile: Compile what leads from images to logits, as one graph;
            True, or options of ``torch.compile``. mmengine's key of the same
            name wraps the whole training step, which falls into pieces at
            the backward pass.
        **kwargs: For ``ImageClassifier``.

    Raises:
        TypeError: ``compile`` is neither a bool nor a dict.
        ValueError: This torch cannot compile the model.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        compile: bool | dict = False,
        **kwargs,
    ) -> None:
        if not isinstance(compile, (bool, dict)):
            raise TypeError(
                f'compile={compile!r} must be True, False or a dict with '
                'options of torch.compile (key `model.compile`).'
            )
        if compile is not False and not compiles_blocks():
            raise ValueError(
                f'compile={compile!r} needs a torch that compiles the blocks '
                f'of mmpretrain as one graph, which {torch.__version__} does '
                'not; leave it out, or install a newer torch (key '
                '`model.compile`).'
            )
        backbone, neck, head = _connect(backbone, neck, head)
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.compile_options = {} if compile is True else compile
        self._compiled: Callable | None = None
        self.register_buffer('fingerprint', _encode(self._identity(_UNKNOWN)))

    def set_class_info(
        self, names: Sequence[str], counts: Sequence[int] | None = None
    ) -> None:
        """Remember which classes a tuned state of this model is for.

        Args:
            names: Names of the classes, by label.
            counts: Not looked at.
        """
        # Escaped, so that a line's end in a name parts no names; others keep
        # the hash of published files. A folder's name may be no UTF-8.
        lines = [n.replace('\\', r'\\').replace('\n', r'\n') for n in names]
        text = '\n'.join(lines).encode(errors='surrogatepass')
        digest = hashlib.sha256(text).hexdigest()
        identity = _encode(self._identity(digest))
        self.fingerprint.copy_(identity)  # in place: EMA copies share sizes

    def logits(self, images: Tensor) -> Tensor:
        """Give logits of preprocessed images, (B, 3, H, W) -> (B, C).

        Args:
            images: As ``data_preprocessor`` gives them.
        """
        if self.compile_options is False:
            return self._logits(images)
        if self._compiled is None:
            options = dict(dict(fullgraph=True), **self.compile_options)
            self._compiled = torch.compile(self._logits, **options)
        with _hooks_under_recomputation():
            return self._compiled(images)

    def _logits(self, images: Tensor) -> Tensor:
        return self.head(self.extract_feat(images))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """See ``ImageClassifier``."""
        if mode == 'tensor' and self.with_head:
            return self.logits(inputs)
        return super().forward(inputs, data_samples, mode)

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """See ``ImageClassifier``."""
        if self.compile_options is False:
            return super().loss(inputs, data_samples)
        return self.head._get_loss(self.logits(inputs), data_samples)

    def predict(self, inputs: Tensor, data_samples=None, **kwargs) -> list:
        """See ``ImageClassifier``."""
        if self.compile_options is False:
            return super().predict(inputs, data_samples, **kwargs)
        return self.head._get_predictions(self.logits(inputs), data_samples)

    def __getstate__(self) -> dict:
        # A copy compiles itself, and what is compiled cannot be pickled.
        return dict(self.__dict__, _compiled=None)

    @property
    def _dataset_meta(self) -> dict:
        """What loaders of checkpoints say about the classes."""
        return self.__dict__.get('_dataset_meta', {})

    @_dataset_meta.setter
    def _dataset_meta(self, meta: dict) -> None:
        self.__dict__['_dataset_meta'] = meta
        names = (meta or {}).get('classes') or ()
        head = self.head  # one that reads the names while it predicts
        if hasattr(head, 'rows') and len(names) == head.num_classes:
            head.set_class_info(names)

    def _identity(self, classes: str) -> dict:
        guards = [m for m in self.modules() if isinstance(m, FrozenBase)]
        tuners: list[dict] = [spec for g in guards for spec in g.tuners]
        tuners += [
            module.spec()  # of CoOp, CLIPAdapter
            for module in self.modules()
            if isinstance(module, TunerModule) and hasattr(module, 'spec')
        ]
        return dict(
            base=[[g.name, g.fingerprint] for g in guards],
            tuners=tuners,
            head=type(self.head).__name__,
            num_classes=getattr(self.head, 'num_classes', None),
            classes=classes,
        )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Check whose tuned state this is, then complete it.

        Overridden rather than hooked, so that torch's and mmengine's loaders
        and every copy of the model come through here.
        """
        key = prefix + 'fingerprint'
        classes = _decode(self.fingerprint)['classes']
        guards = {
            prefix + name.removesuffix('frozen_base'): module
            for name, module in self.named_modules()
            if isinstance(module, FrozenBase)
        }
        base = {root + k for root, guard in guards.items() for k in guard.keys}
        whole = base <= state_dict.keys()
        if key in state_dict:  # otherwise plain weights: nothing to compare
            stored = _decode(state_dict[key])
            self._check(self._identity(classes), stored, whole)
            if classes == _UNKNOWN:
                classes = stored['classes']
            own = self.state_dict(prefix=prefix)
            for name in base:
                state_dict.setdefault(name, own[name])
        elif whole:
            for root, guard in guards.items():
                guard.start_from(state_dict, root)
        for root, guard in guards.items():
            keys = [k for k in guard.keys if root + k in state_dict]
            guard.notice({k: state_dict[root + k] for k in keys})
        state_dict[key] = _encode(self._identity(classes))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check(self, own: dict, stored: dict, whole: bool) -> None:
        for what, key in (
            ('base', 'model.backbone.backbone'),
            ('tuners', 'model.backbone.tuners'),
            ('head', 'model.head.type'),
            ('num_classes', 'model.head.num_classes'),
        ):
            if what == 'base' and whole:
                continue
            if _essence(stored[what]) != _essence(own[what]):
                raise ValueError(
                    f'The tuned checkpoint was made for {what} '
                    f'{_show(stored[what])}, this model has '
                    f'{_show(own[what])}; nothing was loaded (key `{key}`).'
                )
        known = (own['classes'], stored['classes'])
        if _UNKNOWN not in known and known[0] != known[1]:
            raise ValueError(
                'The tuned checkpoint was made for other class names, or the '
                'same in another order, than the dataset has; nothing was '
                'loaded (dataset key `classes`).'
            )


def _hooks_under_recomputation():
    """Let dynamo trace hooks in a recomputed block.

    AdaptFormer's remember the residual stream until the block's end, which
    newer versions take for an effect that a second pass might lack.
    """
    key = 'skip_fwd_side_effects_in_bwd_under_checkpoint'
    config = torch._dynamo.config
    if not hasattr(config, key):
        return contextlib.nullcontext()
    return config.patch(key, True)


def _connect(backbone, neck, head):
    """Fill in what one part of the config knows and another needs."""
    inner = backbone  # a bare CLIP tower knows its weights, too
    if _kind(backbone) == 'TunedBackbone':
        backbone = dict(backbone)
        if isinstance(head, dict):
            if head.get('num_classes') is not None:
                backbone.setdefault('num_classes', head['num_classes'])
        elif head is not None:
            classes = getattr(head, 'num_classes', None)
            backbone.setdefault('num_classes', classes)
        inner = backbone.get('backbone')
    if 'CLIP' not in _kind(inner):
        return backbone, neck, head
    clip = {
        key: inner[key]
        for key in ('arch', 'pretrained', 'quick_gelu')
        if inner.get(key) is not None
    }
    resnet = 'ResNet' in _kind(inner)
    clip.setdefault('arch', 'RN50' if resnet else 'ViT-B-16')
    if isinstance(head, dict) and isinstance(head.get('init'), dict):
        if _kind(head['init']) == 'SemanticInit':
            head = dict(head, init={**clip, **head['init']})
    if _kind(head) == 'TextHead':
        head = dict(head, text=_with_clip(head.get('text'), clip))
        if neck is None and not is_projected(model_config(clip['arch'])):
            raise ValueError(
                'TextHead compares features in the space of texts, which '
                'those of the backbone are not: set neck=dict(type='
                "'lift_mm.CLIPProjection') (key `model.neck`)."
            )
    if _kind(neck) == 'CLIPProjection':
        clip.pop('quick_gelu', None)
        neck = {**clip, **neck}
    elif _kind(neck) == 'CLIPAdapter':
        width = model_config(clip['arch'])['embed_dim']
        neck = dict(in_channels=width, **neck)
    return backbone, neck, head


def _with_clip(text, clip: dict):
    """Fill the CLIP of the images into the config of a text tower."""
    if text is None:
        text = dict(type='lift_mm.CLIPText')
    if _kind(text) == 'TunedBackbone':
        return dict(text, backbone=_with_clip(text.get('backbone'), clip))
    return {**clip, **text} if isinstance(text, dict) else text


def _kind(config) -> str:
    """Give the type a config asks for, without scope; '' for no config."""
    kind = config.get('type') if isinstance(config, dict) else ''
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2]


def _encode(identity: dict) -> Tensor:
    text = json.dumps(identity, sort_keys=True).encode()
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def _decode(buffer: Tensor) -> dict:
    return json.loads(bytes(buffer.cpu().tolist()))


def _essence(value):
    """Drop the names of bases, which are paths on somebody's disk."""
    if isinstance(value, list):
        return [v[1] if isinstance(v, list) else v for v in value]
    return value


def _show(value) -> str:
    """Name bases and tuners in a sentence, with short hashes."""
    if not value:
        return 'none' if value in ([], None) else str(value)
    if isinstance(value, list) and isinstance(value[0], list):
        return ', '.join(f'{name} [{sha[:8]}]' for name, sha in value)
    return str(value)
