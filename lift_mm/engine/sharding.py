"""Spread a frozen backbone over processes, block by block."""

import inspect
from collections.abc import Iterable

from mmengine.dist import broadcast
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.registry import MODEL_WRAPPERS
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lift_mm.tuners import FrozenBase, frozen_keys, learned_parameters
from lift_mm.tuners.blocks import find_blocks

from .tuned_checkpoint_hook import TunedCheckpointHook
from .unwrap import unwrap

try:
    from torch.distributed.fsdp import fully_shard
except ImportError:  # torch before 2.6
    fully_shard = None

# What learns is trained by.
WRAPPER = 'MMDistributedDataParallel'


def is_sharded(model: nn.Module) -> bool:
    """Whether other processes hold parts of the model's parameters."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def frozen_bytes(net: nn.Module) -> int:
    """Count the bytes of frozen parameters that this process holds."""
    return sum(
        (p.to_local() if isinstance(p, DTensor) else p).nbytes
        for p in net.parameters()
        if not p.requires_grad
    )


def shard(model: nn.Module) -> None:
    """Keep 1/N of the frozen backbone in each of N processes, in place.

    A block is gathered from all processes before it computes, forward and
    backward, and given up afterwards (torch's ``fully_shard``); every
    process must therefore call the backbone equally often. It moves to its
    device one block at a time. What learns stays whole in every process,
    and is all that DDP, put around the model later, broadcasts and reduces.

    Args:
        model: A classifier whose ``backbone`` is a
            ``lift_mm.TunedBackbone``, or test-time augmentation around one.

    Raises:
        RuntimeError: This torch cannot leave parameters out.
        ValueError: The model is of another kind, or has a part that does
            not work when base weights are not whole.
    """
    inner = unwrap(model)
    _check(inner)
    if fully_shard is None or 'ignored_params' not in (
        inspect.signature(fully_shard).parameters
    ):
        raise RuntimeError(
            'Sharding leaves learned parameters whole, which needs torch '
            '2.7 or newer (key `runner_type`).'
        )
    net = inner.backbone
    whole = frozen_bytes(net)
    learned = set(learned_parameters(net).values())
    for block in find_blocks(net):
        fully_shard(block.module, ignored_params=learned)
    # Embeddings and last norm; gathered once a step.
    fully_shard(net, ignored_params=learned)
    print_log(
        f'Sharded: this process holds {frozen_bytes(net):,} of {whole:,} '
        'bytes of frozen weights.',
        logger='current',
    )
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        model,
        [n for n, p in model.named_parameters() if isinstance(p, DTensor)],
    )


def start(model: nn.Module) -> None:
    """Start a model, and send what is whole from rank 0 to all."""
    if not hasattr(model, 'init_weights'):
        return
    model.init_weights()
    for value in model.state_dict().values():
        if not isinstance(value, DTensor):  # each rank has its own part
            broadcast(value)


def check_processes(distributed: bool, name: str) -> None:
    """Refuse to shard for one process.

    Args:
        distributed: Whether a launcher has started this process.
        name: Who would shard.

    Raises:
        ValueError: There is no launcher.
    """
    if not distributed:
        raise ValueError(
            f'{name} spreads a backbone over several processes, and this is '
            'the only one: start it with `tools/dist_train.sh CONFIG GPUS`, '
            'or drop the key `runner_type`.'
        )


def check_wrapper(config: dict | None, name: str, key: str) -> None:
    """Refuse a wrapper that shards once more.

    Args:
        config: Its config; None is DDP.
        name: Who has sharded.
        key: Where the config is.

    Raises:
        ValueError: It is none of DDP.
    """
    kind = (config or {}).get('type', WRAPPER)
    wrapper = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if not issubclass(wrapper, DistributedDataParallel):
        raise ValueError(
            f'{key}.type={kind!r} would spread what {name} has spread '
            f'already: {WRAPPER} is possible; drop `{key}` or `runner_type`.'
        )


def check_hooks(hooks: Iterable[Hook]) -> None:
    """Refuse hooks that would read base weights as whole tensors.

    Args:
        hooks: All hooks of the run.

    Raises:
        ValueError: One copies the model, or none leaves the base out of
            checkpoints.
    """
    hooks = list(hooks)
    for hook in hooks:
        if isinstance(hook, EMAHook):
            raise ValueError(
                f'{type(hook).__name__} copies the model, which a sharded '
                'one cannot be: take it out of `custom_hooks`, or drop the '
                'key `runner_type`.'
            )
    if not any(isinstance(hook, TunedCheckpointHook) for hook in hooks):
        raise ValueError(
            'A sharded base is in no process as a whole and cannot be '
            "saved: put dict(type='lift_mm.TunedCheckpointHook') into "
            '`custom_hooks`, or drop the key `runner_type`.'
        )


def check_checkpoint(model: nn.Module, checkpoint: dict) -> None:
    """Refuse a checkpoint that brings base weights along.

    Args:
        model: The sharded model, maybe in DDP.
        checkpoint: What is about to be loaded.

    Raises:
        ValueError: It holds base weights.
    """
    state = checkpoint.get('state_dict', checkpoint)
    stored = {key.removeprefix('module.') for key in state}
    found = sorted(stored & frozen_keys(unwrap(model)))
    if found:
        raise ValueError(
            f'The checkpoint brings base weights ({found[0]} and '
            f'{len(found) - 1} more), which a sharded model takes from '
            '`model.backbone.backbone.pretrained` alone: name the base '
            'there and load a tuned checkpoint (key `load_from`), or '
            'drop the key `runner_type`.'
        )


def _check(model: nn.Module) -> None:
    net = getattr(model, 'backbone', None)
    if not isinstance(getattr(net, 'frozen_base', None), FrozenBase):
        raise ValueError(
            'What is sharded is a frozen backbone, and that of '
            f'{type(model).__name__} is a {type(net).__name__} that learns: '
            "wrap it in `dict(type='lift_mm.TunedBackbone')`, or drop the "
            'key `runner_type`.'
        )
    if getattr(model, 'compile_options', False) is not False:
        raise ValueError(
            f'compile={model.compile_options!r} makes one graph of the '
            'model, and a sharded one is gathered block by block: drop '
            '`model.compile` or `runner_type`.'
        )
    init = getattr(getattr(model, 'head', None), 'init', None)
    if hasattr(init, 'set_data'):
        raise ValueError(
            f'{type(init).__name__} computes unequal numbers of batches in '
            'the processes, which a sharded backbone cannot: start the head '
            "from names, `model.head.init=dict(type='lift_mm.SemanticInit')`,"
            ' or drop the key `runner_type`.'
        )
