"""Everything public says what it is, takes, gives and raises."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType

import pytest
from mmengine.registry import Registry

import lift_mm
from lift_mm import registry

_INFOS = pkgutil.walk_packages(lift_mm.__path__, 'lift_mm.')
MODULES = [info.name for info in _INFOS if not info.name.endswith('__main__')]

_PASSED_ON = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)
# The summary of a short function says what it gives.
_GIVES = re.compile(
    'Build|Count|Derive|Draw|Find|Give|Import|List|Look|Name|Read|Run|Say|'
    'See |Settings|Switch|Test|Turn|Whether|Write'
)


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or '').startswith('lift_mm'):
            raise
        pytest.skip(f'needs {error.name}, of an extra')


def is_public(thing) -> bool:
    """Whether a package lists it in ``__all__``, or a config can name it."""
    parts = thing.__module__.split('.')
    packages = ['.'.join(parts[:end]) for end in range(1, len(parts) + 1)]
    listed = any(
        thing.__name__ in getattr(importlib.import_module(name), '__all__', ())
        for name in packages
    )
    registries = [
        each for each in vars(registry).values() if isinstance(each, Registry)
    ]
    return listed or any(thing in r.module_dict.values() for r in registries)


def things(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Give the functions, classes and methods that a module shows."""
    for name, thing in vars(module).items():
        own = getattr(thing, '__module__', None) == module.__name__
        if name.startswith('_') or not own:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            yield name, thing
            for key, method in vars(thing).items():
                if isinstance(method, property):
                    method = method.fget
                method = getattr(method, '__func__', method)
                if inspect.isfunction(method) and not key.startswith('_'):
                    yield f'{name}.{key}', method


def overrides(module: ModuleType, name: str) -> bool:
    """Whether a method is one of a base class, which says its arguments."""
    owner, _, key = name.rpartition('.')
    bases = getattr(module, owner).__mro__[1:] if owner else ()
    return any(key in vars(base) for base in bases)


def parameters(thing) -> list[str]:
    """Name what is passed; a class takes what its ``__init__`` does."""
    if inspect.isclass(thing):
        if '__init__' not in vars(thing):
            return []
        thing = thing.__init__
    found = list(inspect.signature(thing).parameters.values())
    if all(p.kind in _PASSED_ON or p.name == 'self' for p in found):
        return []
    own = (p for p in found if p.kind != inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in own if p.name not in ('self', 'cls')]


def raised(thing) -> set[str]:
    """Name the errors of users that a body itself raises."""
    if inspect.isclass(thing):
        if '__init__' not in vars(thing) or dataclasses.is_dataclass(thing):
            return set()
        thing = thing.__init__
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    errors = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise)]
    errors = [getattr(error, 'func', error) for error in errors]
    names = {error.id for error in errors if isinstance(error, ast.Name)}
    return names & {'TypeError', 'ValueError', 'FileNotFoundError'}


def gives(module: ModuleType, name: str, thing) -> bool:
    """Whether a function says by its annotation that it returns something."""
    owner, _, key = name.rpartition('.')
    inside = vars(getattr(module, owner)) if owner else {}
    if inspect.isclass(thing) or isinstance(inside.get(key), property):
        return False  # the summary of a property is a noun
    found = inspect.signature(thing).return_annotation
    return found not in (None, 'None', inspect.Signature.empty)


def sections(thing) -> dict[str, str]:
    """Part a docstring into its sections; '' is what stands before them."""
    doc = inspect.cleandoc(thing.__doc__ or '')
    heads = 'Args|Attributes|Returns|Yields|Raises'
    parts = re.split(rf'^({heads}):', doc, flags=re.MULTILINE)
    return dict(zip(['', *parts[1::2]], parts[::2]))


def faults(module: ModuleType) -> Iterator[str]:
    """Say what docstrings of a module lack."""
    if not module.__doc__:
        yield 'no docstring of the module'
    for name, thing in things(module):
        if not thing.__doc__:
            yield f'{name}: no docstring'
            continue
        found = sections(thing)
        if not found[''].strip():
            yield f'{name}: does not say what it is'
        lacking = raised(thing) - set(
            re.findall(r'\b\w+Error\b', found.get('Raises', ''))
        )
        if lacking and 'See ' not in found['']:
            yield f'{name}: Raises lacks {", ".join(sorted(lacking))}'
        owner = name.partition('.')[0]
        if not is_public(getattr(module, owner)) or overrides(module, name):
            continue
        args = found.get('Args', '') + found.get('Attributes', '')
        words = [
            word
            for word in parameters(thing)
            if not re.search(rf'^\s*\*{{0,2}}{word}\b[^:\n]*:', args, re.M)
            and 'See ' not in args
        ]
        told = {'Returns', 'Yields'} & found.keys() or _GIVES.match(found[''])
        if gives(module, name, thing) and not told:
            yield f'{name}: does not say what it returns'
        if words:
            yield f'{name}: Args lacks {", ".join(words)}'


@pytest.mark.parametrize('name', MODULES)
def test_docstrings(name):
    assert not list(faults(load(name)))


SAMPLE = '''
__all__ = ['bare', 'silent', 'Kept']

def bare(): ...

def silent(size: int, *, mode: str = '') -> int:
    """Think of it.

    Args:
        size: Pixels.
    """
    raise ValueError

def _hidden(size): ...

class Kept:
    """One that keeps something.

    Args:
        size: Pixels.

    Raises:
        ValueError: It is negative.
    """

    def __init__(self, size, scale):
        if size < 0:
            raise TypeError('size')

    def half(self) -> int:
        """Give half of it."""
'''


def test_what_the_audit_finds(tmp_path, monkeypatch):
    (tmp_path / 'a_sample.py').write_text(SAMPLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(faults(importlib.import_module('a_sample')))
    monkeypatch.delitem(sys.modules, 'a_sample')
    assert found == [
        'no docstring of the module',
        'bare: no docstring',
        'silent: Raises lacks ValueError',
        'silent: does not say what it returns',
        'silent: Args lacks mode',
        'Kept: Raises lacks TypeError',
        'Kept: Args lacks scale',
    ]
