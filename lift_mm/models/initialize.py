"""Initialise a backbone while a model is built."""

import logging

from mmengine.logging import MMLogger
from torch import nn


def initialize(net: nn.Module) -> None:
    """Load or draw the weights of a backbone, once.

    mmengine would print a line for every parameter where no runner has
    opened a log file yet; warnings stay.
    """
    if not hasattr(net, 'init_weights') or getattr(net, 'is_init', False):
        return
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        net.init_weights()
    finally:
        logger.setLevel(level)
