"""Every shim: the fault it repairs, and what it must not allow."""

import builtins
import os
import pickle
import re
import subprocess
import sys
from collections import OrderedDict

import mmengine
import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.config import config as config_module
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.hub import get_config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, VISUALIZERS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as runner_checkpoint
from torch import nn

from lift_mm import compat


class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        loss = self.linear(inputs).square().mean()
        return dict(loss=loss) if mode == 'loss' else loss


@pytest.fixture(scope='module')
def runner_file(tmp_path_factory):
    """A checkpoint by a real runner: log, momentum, schedule, counts."""
    work_dir = tmp_path_factory.mktemp('runner')
    data = [dict(inputs=torch.ones(2)) for _ in range(4)]
    runner = Runner(
        ToyModel(),
        str(work_dir),
        train_dataloader=dict(
            dataset=data,
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=2),
        default_hooks=dict(logger=LoggerHook(1), checkpoint=CheckpointHook()),
        experiment_name=f'compat_{os.getpid()}',
    )
    runner.message_hub.update_info('counts', np.array([[5, 3], [1, 0]]))
    runner.message_hub.update_info('share', np.float32(0.5))
    runner.train()
    return str(work_dir / 'epoch_1.pth')


def test_install_is_done_once():
    assert compat.install() is compat.install()
    # Whatever was repaired is not found faulty again.
    assert compat.install.__wrapped__() == ()


def test_install_needs_some_mmcv(monkeypatch):
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='pip install mmcv-lite'):
        compat.install.__wrapped__()


def test_runner_checkpoint(runner_file):
    with pytest.raises(pickle.UnpicklingError):  # the fault is still there
        torch.load(runner_file, weights_only=True)

    loaded = CheckpointLoader.load_checkpoint(runner_file, 'cpu')
    hub = loaded['message_hub']
    buffer = hub['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert [type(values) for values in buffer.data] == [np.ndarray] * 2
    assert buffer.statistics('mean') == buffer.data[0].mean()
    buffer.update(1.0)  # writable, as the runner needs it
    counts = hub['runtime_info']['counts']
    assert counts.tolist() == [[5, 3], [1, 0]] and counts.dtype == np.int64
    assert hub['runtime_info']['share'] == np.float32(0.5)
    assert loaded['optimizer']['state'][0]['momentum_buffer'].shape == (1, 2)
    assert loaded['meta']['epoch'] == 1


def test_runner_checkpoint_is_what_torch_would_load(runner_file):
    """The same objects, by the reader that we never use in the package."""
    theirs = plain(torch.load(runner_file, weights_only=False))
    ours = plain(compat.load_file(runner_file))
    assert ours == theirs


def plain(node):
    if isinstance(node, HistoryBuffer):
        return plain(vars(node))
    if isinstance(node, dict):
        return {key: plain(node[key]) for key in node}
    if isinstance(node, (list, tuple)):
        return [plain(item) for item in node]
    if isinstance(node, (torch.Tensor, np.ndarray, np.generic)):
        return str(node.dtype), node.tolist()
    return node


def test_plain_files(tmp_path, caplog):
    weights = OrderedDict(x=torch.arange(3.0))
    torch.save(weights, tmp_path / 'x.pth')
    safetensors.torch.save_file(dict(weights), tmp_path / 'x.safetensors')
    for name in ('x.pth', 'x.safetensors'):
        loaded = compat.load_file(tmp_path / name)
        assert loaded['x'].tolist() == [0, 1, 2]
    assert 'runner checkpoint' not in caplog.text


@pytest.mark.parametrize(
    'array',
    [
        np.arange(6, dtype='>i2').reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.zeros((0, 3), np.float16),
        np.float64(3),
        np.bool_(True),
    ],
)
def test_numbers_come_back(tmp_path, array):
    torch.save([(array,)], tmp_path / 'x.pth')
    ((back,),) = compat.load_file(tmp_path / 'x.pth')
    assert type(back) is type(array) and back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args, state)

    def __reduce__(self):
        return self.reduced


def crafted_dtype():
    # numpy itself would now take numbers for addresses of objects.
    return Call(
        np.dtype,
        'f8',
        False,
        True,
        state=(3, '<') + (None,) * 3 + (-1, -1, 63),
    )


@pytest.mark.parametrize(
    ('attack', 'name'),
    [
        (lambda mark: Call(os.system, f'touch {mark}'), 'posix.system'),
        (lambda mark: Call(eval, f'open({mark!r}, "w")'), 'eval'),
        (
            lambda mark: Call(getattr, HistoryBuffer, '__init__'),
            "getattr(HistoryBuffer,'__init__')",
        ),
        (
            lambda mark: Call(getattr, torch.Tensor, 'mean'),
            "getattr(Tensor,'mean')",
        ),
        (lambda mark: np.array([print], object), "numpy.dtype('O8')"),
        (lambda mark: np.zeros(2, [('a', 'f8')]), "numpy.dtype('V8')"),
        (lambda mark: nn.Linear(1, 1), 'torch.nn.modules.linear.Linear'),
    ],
)
def test_code_is_refused(tmp_path, attack, name):
    mark = tmp_path / 'executed'
    path = str(tmp_path / 'evil.pth')
    torch.save({'log': HistoryBuffer(), 'x': attack(str(mark))}, path)
    match = f'evil.pth" is refused because it asks for "{name}"'
    with pytest.raises(ValueError, match=re.escape(match)):
        CheckpointLoader.load_checkpoint(path, 'cpu')
    assert not mark.exists()


def test_what_getattr_gives_is_not_called(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(Call(HistoryBuffer.min, HistoryBuffer([1.0], [1])), path)
    with pytest.raises(ValueError, match='cannot be read'):
        compat.load_file(path)


@pytest.mark.filterwarnings('ignore')
def test_torchscript_is_named(tmp_path):
    path = str(tmp_path / 'x.pt')
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)
    with pytest.raises(ValueError, match='is a TorchScript archive'):
        compat.load_file(path)


def test_crafted_dtype_is_harmless(tmp_path):
    path = tmp_path / 'x.pth'
    dtype = np.dtype('f8', False, True)
    dtype.__setstate__(crafted_dtype().reduced[2])
    assert dtype.hasobject
    torch.save({'log': HistoryBuffer(), 'x': crafted_dtype()}, path)
    assert not compat.load_file(path)['x'].hasobject


@pytest.mark.parametrize(
    'content',
    [b'', b'hello', b'not a checkpoint', b'PK\x03\x04 cut short'],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_file(tmp_path, content, suffix):
    path = tmp_path / f'x{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'x{suffix}" cannot be read: .+'):
        compat.load_file(path)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match='"gone.pth" does not exist'):
        CheckpointLoader.load_checkpoint('gone.pth', 'cpu')


def test_remote_checkpoints(tmp_path, monkeypatch, runner_file):
    torch.hub.set_dir(str(tmp_path))
    folder = tmp_path / 'checkpoints'
    folder.mkdir()
    torch.save({'x': torch.ones(1)}, folder / 'good.pth')
    os.symlink(runner_file, folder / 'full.pth')
    torch.save(Call(os.system, f'touch {tmp_path}/mark'), folder / 'evil.pth')

    def load(name):  # "downloaded" already
        url = f'https://example.org/{name}.pth'
        return CheckpointLoader.load_checkpoint(url, 'cpu')

    assert load('good')['x'].tolist() == [1]
    for name in ('full', 'evil'):
        with pytest.raises(ValueError, match='pass its local path'):
            load(name)
    assert not (tmp_path / 'mark').exists()


def test_no_loader_falls_back_on_trust(monkeypatch, tmp_path):
    """That of onedl-mmengine does, for all stores but the local one."""

    def trusting(file, map_location=None, weights_only=None):
        return torch.load(file, map_location, weights_only=False)

    monkeypatch.setattr(
        runner_checkpoint, '_safe_torch_load', trusting, raising=False
    )
    assert compat._unsafe_loading()
    assert not compat._unsafe_loading()
    path = tmp_path / 'evil.pth'
    torch.save(Call(os.system, f'touch {tmp_path}/mark'), path)
    for options in ({}, dict(weights_only=False)):
        with pytest.raises(pickle.UnpicklingError):
            runner_checkpoint._safe_torch_load(path, **options)
    assert not (tmp_path / 'mark').exists()
    monkeypatch.delattr(runner_checkpoint, '_safe_torch_load')
    assert not compat._unsafe_loading()


def test_remote_shim_vanishes(monkeypatch):
    def repaired(url, weights_only=True):
        raise NotImplementedError

    monkeypatch.setattr(runner_checkpoint, 'load_url', repaired)
    assert not compat._remote_checkpoints()
    assert runner_checkpoint.load_url is repaired


def test_local_shim_vanishes_only_if_upstream_is_safe(monkeypatch, capsys):
    schemes = dict(CheckpointLoader._schemes)
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)

    def safe(path, map_location):
        return compat.load_file(path, map_location)

    def trusting(path, map_location):
        print('loading', path)
        if path.endswith('.safetensors'):
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location, weights_only=False)

    schemes[''] = safe
    assert not compat._local_checkpoints()
    schemes[''] = trusting
    assert compat._local_checkpoints()
    assert CheckpointLoader._schemes[''] is compat.load_from_local
    assert capsys.readouterr().out == ''  # an import prints nothing


def test_configs_of_other_packages():
    path = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
    assert get_config(path).model.type == 'ImageClassifier'


def test_package_lookup(tmp_path):
    assert compat._is_installed('mmcv-lite') or compat._is_installed('mmcv')
    assert compat._is_installed('mmengine')
    assert not compat._is_installed('no_such_package')
    folder = os.path.dirname(mmengine.__file__)
    assert compat._get_installed_path('mmengine') == folder
    # A distribution whose module has another name.
    assert compat._get_installed_path('PyYAML').endswith('yaml')
    with pytest.raises(ModuleNotFoundError):
        compat._get_installed_path('no_such_package')


def test_package_lookup_patches_every_copy(monkeypatch):
    def broken(package):
        raise ModuleNotFoundError('pkg_resources')

    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    for module in (compat.package_utils, mmengine.utils, config_module):
        monkeypatch.setattr(module, 'is_installed', broken)
    assert compat._package_lookup()
    for module in (compat.package_utils, mmengine.utils, config_module):
        assert module.is_installed is compat._is_installed


def test_package_lookup_vanishes(monkeypatch):
    def repaired(package):
        return True

    monkeypatch.setattr(compat.package_utils, 'is_installed', repaired)
    assert not compat._package_lookup()
    assert compat.package_utils.is_installed is repaired


def test_import_mmpretrain_models(monkeypatch):
    assert compat.import_mmpretrain_models().__name__ == 'mmpretrain.models'
    real = builtins.__import__
    for text, error in (
        ('NoneType takes no arguments', ImportError),
        ('another mistake', TypeError),
    ):

        def fails(name, *args, text=text, **kwargs):
            if name == 'mmpretrain.models':
                raise TypeError(text)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, '__import__', fails)
        with pytest.raises(error) as caught:
            compat.import_mmpretrain_models()
        said = 'pip uninstall pycocotools' in str(caught.value)
        assert said is (error is ImportError)


def test_float_drop_path():
    models = compat.import_mmpretrain_models()
    arch = dict(
        embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8
    )
    net = models.VisionTransformer(
        arch, img_size=32, patch_size=16, drop_path_rate=0.1
    )
    drops = [
        module for module in net.modules() if hasattr(module, 'drop_prob')
    ]
    rates = [module.drop_prob for module in drops]
    assert any(isinstance(rate, np.generic) for rate in rates)
    compat.float_drop_path(net)
    assert all(type(module.drop_prob) is float for module in drops)
    assert [module.drop_prob for module in drops] == rates


def test_compiler_is_asked(monkeypatch):
    def refuse(*args):
        raise torch._dynamo.exc.Unsupported('cannot trace')

    def compile(module, **options):
        assert options['fullgraph']
        return refuse

    assert compat.compiles_blocks() in (True, False)
    monkeypatch.setattr(torch, 'compile', compile)
    assert not compat.compiles_blocks.__wrapped__()


def test_import_prints_nothing_and_stays_light():
    """Beside mmpretrain it brings its own files and a reader of weights.

    What waits for its use (open_clip, timm, matplotlib, mmpretrain's models
    ...) is not there.
    """
    code = (
        'import sys, mmpretrain\n'
        'before = set(sys.modules)\n'
        'import lift_mm\n'
        'new = set(sys.modules) - before\n'
        'names = {name.partition(".")[0] for name in new}\n'
        'assert "lift_mm.models" not in new, new\n'
        'assert "mmpretrain.models" not in new, new\n'
        'names -= sys.stdlib_module_names\n'
        # More of numpy and torch, which are there in any case.
        'assert names <= {"lift_mm", "safetensors", "numpy", "torch"}, new\n'
        'assert "lift_mm" in names\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_base_config_of_this_package(tmp_path):
    """Its parts are built in mmpretrain's scope, as they are written."""
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'lift_mm::lift/vit-b16_folder.py'\n")
    cfg = Config.fromfile(path)
    cfg.train_dataloader.dataset.data_root = 'elsewhere'
    assert '_scope_' not in cfg.pretty_text
    cfg.visualizer.update(name='base', save_dir=str(tmp_path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert VISUALIZERS.build(cfg.visualizer)
        for hook in cfg.custom_hooks:
            assert HOOKS.build(hook)
