"""Long-tail learning with foundation models, as a plugin of MMPretrain."""

from . import compat, hub

__version__ = '0.1.0'
__all__ = ['__version__']

compat.install()
hub.install()
