"""Lets timm be imported where torchvision is not: its models are of torch alone, its image
transforms, which nothing here uses, are not.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest


class _AnyClass(type):
    """Makes classes that have every attribute: its own name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _AnyModule(ModuleType):
    """Has every class."""

    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass(name, (), {})


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _AnyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: whatever is asked for is there."""


def import_timm() -> ModuleType | None:
    """Return timm, None where it is not installed."""
    if importlib.util.find_spec("timm") is None:
        return None
    stand_in = None
    if importlib.util.find_spec("torchvision") is None:
        stand_in = _StandIn()
        sys.meta_path.append(stand_in)
    try:
        return importlib.import_module("timm")
    finally:
        if stand_in is not None:  # nothing else shall take it for torchvision
            sys.meta_path.remove(stand_in)
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]


def timm_models() -> ModuleType:
    """Return timm; the test is skipped where it is not installed."""
    found = import_timm()
    if found is None:
        pytest.skip("timm is absent: pip install --no-deps timm==1.0.31")
    return found
