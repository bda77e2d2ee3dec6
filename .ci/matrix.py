"""Run the tests with the newest and the oldest packages on every Python.

    python .ci/matrix.py                          # every environment
    python .ci/matrix.py oldest-3.10 newest-3.13  # some of them

Environments are built under ``.venv-matrix/`` (5 to 6 GB each with the GPU
libraries of torch) and brought up to date on the next run. The oldest
packages are the lower bounds that ``setup.cfg`` declares. ``PYTEST_ADDOPTS``
reaches pytest as usual. Exits with 1 when an environment fails or none ran.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / '.venv-matrix'
NEWEST = ('3.10', '3.11', '3.12', '3.13')
OLDEST = ('3.10', '3.11')
# What meets other packages' interfaces; `make test` runs everything.
TESTS = (
    'tests/test_compat.py',
    'tests/test_end_to_end.py',
    'tests/test_bad_input.py',
    'tests/test_clip',
    'tests/test_datasets',
    'tests/test_evaluation',
    'tests/test_engine',
    'tests/test_fast',
    'tests/test_hub.py',
    'tests/test_models/test_clip_vit.py',
    'tests/test_models/test_heads.py',
    'tests/test_models/test_inits',
    'tests/test_models/test_losses',
    'tests/test_models/test_tta.py',
    'tests/test_models/test_tuned_backbone.py',
    'tests/test_properties',
    'tests/test_tuners',
)
SHOWN = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv-lite')
VERSIONS = f"""
from importlib.metadata import version
print(*map(version, {SHOWN}))
"""


class Result(NamedTuple):
    """What became of one environment.

    Args:
        name (str): Such as ``oldest-3.10``.
        state (str): ``passed``, ``failed`` or ``not run``.
        detail (str): The last line of pytest, or why there is none.
        versions (str): Releases of the packages in ``SHOWN``.
        seconds (float): Time of the tests alone.
    """

    name: str
    state: str
    detail: str
    versions: str = ''
    seconds: float = 0.0


def requirements(setup_cfg: Path) -> list[str]:
    """Read what the package and its tests need, one requirement each."""
    parser = configparser.ConfigParser()
    parser.read(setup_cfg)
    extras = parser['options.extras_require']
    declared = (
        parser['options']['install_requires'],
        extras['demo'],
        extras['test'],
    )
    lines = '\n'.join(declared).splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def lower_bounds(declared: list[str]) -> list[str]:
    """Turn every lower bound into a pin.

    Args:
        declared (list[str]): Requirements with a ``>=`` each.

    Returns:
        list[str]: Lines of a constraints file.

    Raises:
        ValueError: A requirement has no lower bound.
    """
    pins = []
    for line in declared:
        found = re.match(r'([\w.-]+)\s*>=\s*([\w.]+)', line)
        if not found:
            raise ValueError(
                f'setup.cfg requires "{line}" without a lower bound; every '
                'requirement needs one, such as "numpy>=1.23".'
            )
        pins.append('=='.join(found.groups()))
    return pins


def find_python(version: str) -> Path | None:
    """Find a Python that starts, on the path or among those of pyenv."""
    name = f'python{version}'
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'))
    found = [*pyenv.glob(f'versions/{version}.*/bin/{name}')]
    # On the path may be a shim that stands for a Python that is not chosen.
    for program in (shutil.which(name), *found):
        if program and _starts(program):
            return Path(program)
    return None


def _starts(program: str | Path) -> bool:
    return not subprocess.run(
        [program, '-c', ''], capture_output=True
    ).returncode


def install(name: str, program: Path) -> Path:
    """Build an environment, or bring it up to date.

    Raises:
        subprocess.CalledProcessError: pip found no way.
    """
    folder = HOME / name
    python = folder / 'bin' / 'python'
    if not python.exists():
        subprocess.run([program, '-m', 'venv', folder], check=True)
    pip = [python, '-m', 'pip', 'install', '-q']
    subprocess.run([*pip, '--upgrade', 'pip'], check=True)
    options = ['--upgrade', '--upgrade-strategy', 'eager']
    if name.startswith('oldest'):
        pins = folder / 'constraints.txt'
        bounds = lower_bounds(requirements(ROOT / 'setup.cfg'))
        pins.write_text('\n'.join(bounds) + '\n')
        options = ['--constraint', pins]
    target = f'{ROOT}[demo,test]'
    subprocess.run([*pip, *options, '--editable', target], check=True)
    return python


def run(name: str) -> Result:
    """Build one environment and run the tests in it."""
    version = name.partition('-')[2]
    program = find_python(version)
    if program is None:
        return Result(name, 'not run', f'python{version} is not installed')
    print(f'== {name}: installing', flush=True)
    try:
        python = install(name, program)
    except subprocess.CalledProcessError as error:
        return Result(name, 'failed', f'installing: {error}')
    ask = [python, '-c', VERSIONS]
    versions = subprocess.run(ask, capture_output=True, text=True).stdout
    print(f'== {name}: testing', flush=True)
    start = time.monotonic()
    log = HOME / f'{name}.log'
    with log.open('w') as stream:
        code = subprocess.run(
            [python, '-m', 'pytest', '-q', *TESTS],
            cwd=ROOT,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=stream,
            stderr=subprocess.STDOUT,
        ).returncode
    last = log.read_text().strip().rpartition('\n')[2].strip('= ')
    state = 'failed' if code else 'passed'
    seconds = time.monotonic() - start
    return Result(name, state, last, versions.strip(), seconds)


def main(names: list[str]) -> int:
    """Run the named environments, or all, and print a table."""
    known = [f'newest-{version}' for version in NEWEST]
    known += [f'oldest-{version}' for version in OLDEST]
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f'{sorted(unknown)} is none of {known}.')
    results = [run(name) for name in names or known]
    print(f'\n{"environment":12} {"":8} {" ".join(SHOWN)}')
    for result in results:
        print(f'{result.name:12} {result.state:8} {result.versions}')
        print(f'{"":12} {result.seconds:6.0f} s {result.detail}')
    states = {result.state for result in results}
    return int('failed' in states or 'passed' not in states)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
