"""What docs/analysis.md tells to write and to run is there."""

import importlib.util
import re

import pytest
from miniature import REPO
from mmengine.config import Config

from lift_mm.engine import ParameterHistogramHook
from lift_mm.registry import HOOKS

PAGE = (REPO / 'docs' / 'analysis.md').read_text()


def test_config(tmp_path):
    (code,) = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    text = code.replace("'configs/", f"'{REPO}/configs/")
    (tmp_path / 'own.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'own.py')
    kinds = [backend.type for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'TensorboardVisBackend']
    assert cfg.visualizer.type == 'UniversalVisualizer'
    types = [hook.type for hook in cfg.custom_hooks]
    assert 'lift_mm.TrainAccuracyHook' in types
    hook = HOOKS.build(cfg.custom_hooks[-1])
    assert isinstance(hook, ParameterHistogramHook) and hook.interval == 1


COMMANDS = re.findall(r'^python (tools/\S+) (.*?) *(?:#.*)?$', PAGE, re.M)


@pytest.mark.parametrize('tool, args', COMMANDS)
def test_commands(tool, args, monkeypatch):
    """The tools take these arguments."""
    spec = importlib.util.spec_from_file_location('tool', REPO / tool)
    module = importlib.util.module_from_spec(spec)
    if 'analysis_tools' in tool:
        pytest.importorskip('plotly', reason='needs the extra `report`')
    spec.loader.exec_module(module)
    config = REPO / 'configs' / 'lift' / 'vit-b16_folder.py'
    words = args.replace('CONFIG', str(config)).split()
    monkeypatch.setattr('sys.argv', [tool, *words])
    monkeypatch.setenv('LOCAL_RANK', '0')
    assert module.parse_args()
