"""The classifier inside of what is wrapped around it."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """Look inside DDP and test-time augmentation."""
    while is_model_wrapper(model) or not hasattr(model, 'backbone'):
        if not hasattr(model, 'module'):
            break
        model = model.module
    return model
