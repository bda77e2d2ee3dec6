"""Registries of scope ``lift_mm``, children of mmengine's roots.

``type='lift_mm.X'`` in a config imports this file, and with it the package,
from whatever scope the config is built in.
"""

from mmengine import registry as root
from mmengine.registry import Registry


def _child(name: str, room: str) -> Registry:
    parent = getattr(root, name)
    return Registry(
        parent.name,
        parent=parent,
        scope='lift_mm',
        locations=[f'lift_mm.{room}'],
    )


MODELS = _child('MODELS', 'models')
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS', 'models')
DATASETS = _child('DATASETS', 'datasets')
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'datasets')
TRANSFORMS = _child('TRANSFORMS', 'datasets')
METRICS = _child('METRICS', 'evaluation')
HOOKS = _child('HOOKS', 'engine')
LOOPS = _child('LOOPS', 'engine')
RUNNERS = _child('RUNNERS', 'engine')
STRATEGIES = _child('STRATEGIES', 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'engine')

# Ways of tuning a frozen net: no counterpart in mmengine, hence a root.
TUNERS = Registry('tuner', scope='lift_mm', locations=['lift_mm.tuners'])
