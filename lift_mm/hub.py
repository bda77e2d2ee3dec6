"""The recipes in mmpretrain's hub, for ``list_models`` and ``get_model``."""

from functools import cache
from pathlib import Path


@cache
def install() -> None:
    """Let the hub read our index when somebody first asks it for a model.

    Not at once, for that takes seconds.
    """
    from mmpretrain.apis.model import ModelHub

    read_mmpretrain = ModelHub._register_mmpretrain_models

    @cache
    def read_both() -> None:
        read_mmpretrain()
        folder = Path(__file__).parent / '.mim'
        ModelHub.register_model_index(folder / 'model-index.yml', folder)

    ModelHub._register_mmpretrain_models = staticmethod(read_both)
