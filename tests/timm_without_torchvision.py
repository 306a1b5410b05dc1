"""timm's models without torchvision, of which they need nothing: its names stand for empty classes.

timm imports torchvision for data and for a few layers; where torchvision is absent, importing this
module lets it find a package of which every name is a class that does nothing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest


class _Named(type):
    """A class of which every attribute is the name of one, as enumerations have them."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Empty(ModuleType):
    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(name, (), {"__init__": lambda self, *given, **named: None})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds torchvision and whatever is below it."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""


def timm_models() -> ModuleType:
    """Import timm, with a stand-in for torchvision where that is absent; skip without timm."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is absent: pip install --no-deps timm==1.0.31")
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_Finder())
    return pytest.importorskip("timm")
