"""How the rows of a head start."""

from .class_mean import ClassMeanInit
from .linear_probe import LinearProbeInit
from .semantic import SemanticInit

__all__ = ['ClassMeanInit', 'LinearProbeInit', 'SemanticInit']
